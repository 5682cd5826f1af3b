import pytest
import torch

from sci_memeff.alphafold.geometry import Rigid
from sci_memeff.alphafold.losses import (
    FrameAlignedPointError,
    SymmetricRenaming,
    backbone_fape,
    sidechain_fape,
)

from .structures import example, random_mask

FLOOR = 1e-3  # the root of ε, over the unit


def motion(seed: int) -> Rigid:
    torch.manual_seed(seed)
    return Rigid.identity((), torch.zeros((), dtype=torch.float64)).update(
        3 * torch.randn(6, dtype=torch.float64)
    )


def problem(num_frames: int = 5, num_points: int = 7) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    like = torch.zeros((), dtype=torch.float64)

    def frames() -> torch.Tensor:
        update = torch.randn(num_frames, 6, dtype=torch.float64)
        return Rigid.identity((num_frames,), like).update(5 * update).to_matrix4()

    return {
        "frames": frames(),
        "true_frames": frames(),
        "frame_mask": random_mask(num_frames, like=like),
        "points": 4 * torch.randn(num_points, 3, dtype=torch.float64),
        "true_points": 4 * torch.randn(num_points, 3, dtype=torch.float64),
        "point_mask": random_mask(num_points, like=like),
    }


def test_equals_a_loop_over_frames_and_points():
    given = problem()
    clamped = free = count = 0.0
    for f in given["frame_mask"].nonzero().flatten().tolist():
        for p in given["point_mask"].nonzero().flatten().tolist():
            (r, t), (true_r, true_t) = (
                (given[k][f, :3, :3], given[k][f, :3, 3]) for k in ("frames", "true_frames")
            )
            seen, true_seen = (
                (given["points"][p] - t) @ r,
                (given["true_points"][p] - true_t) @ true_r,
            )
            distance = float(((seen - true_seen).square().sum() + 1e-4).sqrt())
            clamped += min(distance, 9.0) / 20.0
            free += distance / 20.0
            count += 1
    found = FrameAlignedPointError(clamp=9.0, unit=20.0)(**given)
    expected = torch.tensor([clamped, free], dtype=torch.float64) / count
    torch.testing.assert_close(torch.stack(found), expected, rtol=1e-4, atol=0.0)
    assert clamped < free


@pytest.mark.parametrize("seed", range(3))
def test_zero_for_the_truth_under_any_rigid_motion(seed):
    given, moved = problem(), motion(seed)
    given["frames"] = (moved @ Rigid.from_matrix4(given["true_frames"])).to_matrix4()
    given["points"] = moved.apply(given["true_points"])
    for error in FrameAlignedPointError()(**given):
        torch.testing.assert_close(float(error), FLOOR, rtol=2e-4, atol=0.0)


def test_a_mirror_image_is_not_the_truth():
    given = problem()
    mirror = torch.diag(torch.tensor([1.0, 1.0, -1.0])).double()
    given["points"] = given["true_points"] @ mirror
    frames = given["true_frames"].clone()
    frames[:, :3, :3] = mirror @ frames[:, :3, :3] @ mirror  # the mirrored atoms' own frames
    frames[:, :3, 3] = frames[:, :3, 3] @ mirror
    given["frames"] = frames
    assert FrameAlignedPointError()(**given)[0] > 100 * FLOOR


def test_far_points_cost_the_clamp_and_have_no_slope():
    given = problem()
    given["points"] = (given["points"] + 1e4).requires_grad_()
    clamped, free = FrameAlignedPointError(clamp=10.0, unit=10.0)(**given)
    torch.testing.assert_close(float(clamped.detach()), 1.0, rtol=1e-4, atol=0.0)
    assert free > 500
    (slope,) = torch.autograd.grad(clamped, given["points"], retain_graph=True)
    assert slope.abs().max() == 0.0
    (slope,) = torch.autograd.grad(free, given["points"])
    assert slope.abs().max() > 0.0


def test_masked_frames_and_points_do_not_count():
    given = problem()
    changed = dict(given)
    for name, mask in [("points", "point_mask"), ("frames", "frame_mask")]:
        kept = given[mask].view(-1, *[1] * (given[name].ndim - 1)) > 0
        changed[name] = torch.where(kept, given[name], torch.rand_like(given[name]))
    error = FrameAlignedPointError()
    assert torch.equal(torch.stack(error(**given)), torch.stack(error(**changed)))


def test_backbone_mixes_clamped_and_free():
    out, batch = example("AGKPDEFY", seed=0, complete=True)
    frames = out["sm"]["frames"].detach()
    frames[:, 2, :3, 3] += 500.0
    error = FrameAlignedPointError()
    found = {
        share: backbone_fape(
            error, frames, batch | {"use_clamped_fape": torch.tensor(share).double()}
        )
        for share in (0.0, 0.25, 1.0)
    }
    assert found[0.0] > 1.5 * found[1.0]
    torch.testing.assert_close(found[0.25], 0.25 * found[1.0] + 0.75 * found[0.0])
    del batch["use_clamped_fape"]
    assert backbone_fape(error, frames, batch) == found[1.0]


def test_backbone_is_the_mean_over_iterations():
    out, batch = example("AGKPDEFY", seed=0)
    frames, error = out["sm"]["frames"].detach(), FrameAlignedPointError()
    each = [backbone_fape(error, frames[t : t + 1], batch) for t in range(len(frames))]
    torch.testing.assert_close(backbone_fape(error, frames, batch), torch.stack(each).mean())


@pytest.mark.parametrize("swapped", [False, True])
def test_sidechains_of_the_truth_cost_nothing_under_either_naming(swapped):
    _, batch = example("DEFYK", seed=0, complete=True)
    kind = "alt_gt" if swapped else "gt"
    positions, frames = batch[f"atom14_{kind}_positions"], batch[f"rigidgroups_{kind}_frames"]
    named = SymmetricRenaming()(positions, batch)
    assert named.swapped.tolist() == [float(swapped)] * 4 + [0.0]
    moved = motion(1)
    loss = sidechain_fape(
        FrameAlignedPointError(),
        (moved @ Rigid.from_matrix4(frames)).to_matrix4(),
        moved.apply(positions),
        batch["rigidgroups_gt_exists"],
        named,
    )
    torch.testing.assert_close(float(loss), FLOOR, rtol=2e-4, atol=0.0)
