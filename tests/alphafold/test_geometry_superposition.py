import pytest
import torch
from torch import Tensor

from sci_memeff.alphafold.geometry import Rigid, quaternion_to_rotation, superposition


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_mask(*shape: int) -> Tensor:
    mask = (random(*shape, seed=7) > 0).double()
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    return mask


def squares(motion: Rigid, moving: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    moved = motion.unsqueeze(-1).apply(moving)
    return ((moved - target).square().sum(-1) * mask).sum(-1)


def test_finds_the_motion_that_was_made() -> None:
    points, mask = 10 * random(5, 12, 3), random_mask(5, 12)
    motion = Rigid(quaternion_to_rotation(random(5, 4)), random(5, 3, seed=1))
    target = motion.unsqueeze(-1).apply(points)
    target[mask == 0] = torch.nan  # unknown points have no say
    found = superposition(points, target, mask)
    torch.testing.assert_close(found.rotation, motion.rotation)
    torch.testing.assert_close(found.translation, motion.translation)


def test_no_nearby_motion_is_better() -> None:
    moving, target, mask = random(5, 12, 3), random(5, 12, 3, seed=1), random_mask(5, 12)
    best = superposition(moving, target, mask)
    least = squares(best, moving, target, mask)
    for seed in range(50):
        nearby = best.update(1e-2 * random(5, 6, seed=seed))
        assert (squares(nearby, moving, target, mask) > least).all()


def test_a_mirror_image_is_not_turned_inside_out() -> None:
    points = random(20, 3)
    found = superposition(points, points * torch.tensor([-1.0, 1, 1]), torch.ones(20))
    assert torch.linalg.det(found.rotation) == pytest.approx(1.0)
    assert squares(found, points, points * torch.tensor([-1.0, 1, 1]), torch.ones(20)) > 1


@pytest.mark.parametrize("known", [0, 1, 2, 3])
def test_few_points_still_give_a_rotation(known: int) -> None:
    moving, target, mask = random(6, 3), random(6, 3, seed=1), torch.arange(6) < known
    found = superposition(moving, target, mask)
    torch.testing.assert_close(found.rotation @ found.rotation.mT, torch.eye(3).double())
    assert torch.linalg.det(found.rotation) == pytest.approx(1.0)
    if known:
        centre = moving[:known].mean(0)
        torch.testing.assert_close(found.apply(centre), target[:known].mean(0))


def test_follows_dtype_and_stops_gradients() -> None:
    moving = random(6, 3).float().requires_grad_()
    found = superposition(moving, random(6, 3, seed=1).float(), torch.ones(6, dtype=torch.bool))
    assert found.rotation.dtype == torch.float32
    assert not found.rotation.requires_grad
