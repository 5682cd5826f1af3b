import torch

from sci_memeff.alphafold.losses.binned import distance_bins, masked_cross_entropy


def test_bins_lie_between_breaks():
    distance = torch.tensor([0.0, 1.0, 2.0, 2.01, 3.5, 4.0, 4.01, 100.0, float("inf")])
    bins = distance_bins(distance.square(), first=2.0, last=4.0, num_bins=4)  # breaks 2, 3, 4
    assert bins.tolist() == [0, 0, 0, 1, 2, 2, 3, 3, 3]


def test_a_distance_that_is_no_number_has_a_bin():
    assert 0 <= int(distance_bins(torch.tensor([float("nan")]), 2.0, 4.0, 4)) <= 3


def test_cross_entropy_is_minus_the_log_of_the_right_probability():
    torch.manual_seed(0)
    logits, bins = torch.randn(3, 5, 7, dtype=torch.float64), torch.randint(7, (3, 5))
    mask = torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0]).double()
    errors = masked_cross_entropy(logits, bins, mask)
    for i in range(3):
        for j in range(5):
            p = logits[i, j].exp() / logits[i, j].exp().sum()
            torch.testing.assert_close(errors[i, j], -p[bins[i, j]].log() * mask[j])


def test_half_precision_logits_do_not_blur_the_logarithm():
    torch.manual_seed(0)
    logits, bins = torch.randn(4, 64).bfloat16(), torch.randint(64, (4,))
    errors = masked_cross_entropy(logits, bins, torch.ones(4))
    assert errors.dtype == torch.float32
    torch.testing.assert_close(errors, masked_cross_entropy(logits.float(), bins, torch.ones(4)))
