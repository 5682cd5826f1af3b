import torch

from sci_memeff.alphafold.losses.distances import distances


def test_every_point_with_every_other():
    x, y = torch.randn(4, 3).double(), torch.randn(5, 3).double()
    torch.testing.assert_close(distances(x, y, 0.0), torch.cdist(x, y))


def test_leading_dimensions_broadcast():
    x, y = torch.randn(6, 1, 4, 3), torch.randn(1, 7, 5, 3)
    assert distances(x, y, 1e-8).shape == (6, 7, 4, 5)


def test_has_a_slope_where_points_meet():
    x = torch.zeros(1, 3, requires_grad=True)
    distances(x, torch.zeros(1, 3), 1e-8).sum().backward()
    assert torch.equal(x.grad, torch.zeros(1, 3))
