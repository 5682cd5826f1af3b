import math

import pytest
import torch
from torch import Tensor

from sci_memeff.alphafold.geometry import Rigid, quaternion_to_rotation


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_rigid(*shape: int, seed: int = 0) -> Rigid:
    return Rigid(quaternion_to_rotation(random(*shape, 4, seed=seed)), random(*shape, 3, seed=9))


def assert_same(a: Rigid, b: Rigid, **tolerance: float) -> None:
    torch.testing.assert_close(a.rotation, b.rotation, **tolerance)
    torch.testing.assert_close(a.translation, b.translation, **tolerance)


def test_identity_moves_nothing() -> None:
    points = random(4, 5, 3)
    identity = Rigid.identity((4, 5), like=points)
    assert identity.shape == (4, 5)
    assert identity.translation.dtype == torch.float64
    assert torch.equal(identity.apply(points), points)
    assert Rigid.identity((2,), like=torch.zeros(1, dtype=torch.bfloat16)).rotation.dtype == (
        torch.bfloat16
    )


def test_is_the_group_of_rigid_motions() -> None:
    a, b, c = (random_rigid(6, seed=seed) for seed in range(3))
    points = random(6, 3, seed=5)
    assert_same((a @ b) @ c, a @ (b @ c))
    assert_same(a @ a.inverse(), Rigid.identity((6,), like=points), atol=1e-12, rtol=0)
    torch.testing.assert_close((a @ b).apply(points), a.apply(b.apply(points)))
    torch.testing.assert_close(a.invert_apply(points), a.inverse().apply(points))
    torch.testing.assert_close(a.invert_apply(a.apply(points)), points)


def test_leading_dimensions_broadcast() -> None:
    frames, points = random_rigid(6, 1), random(7, 3)
    assert frames.apply(points).shape == (6, 7, 3)
    torch.testing.assert_close(frames.apply(points)[2], frames[2, 0].apply(points))
    assert (frames @ random_rigid(7, seed=1)).shape == (6, 7)


def test_indexing_counts_leading_dimensions() -> None:
    frames = random_rigid(4, 5)
    assert frames[1].shape == (5,)
    assert frames[..., 2].shape == (4,)
    assert frames[:, 1:3].shape == (4, 2)
    assert frames[..., None].shape == frames.unsqueeze(-1).shape == (4, 5, 1)
    assert frames.unsqueeze(0).shape == (1, 4, 5)
    assert torch.equal(frames[..., 2].rotation, frames.rotation[:, 2])
    assert torch.equal(frames[1, 2].translation, frames.translation[1, 2])


def test_matrices_multiply_as_the_motions_do() -> None:
    a, b = random_rigid(6), random_rigid(6, seed=1)
    torch.testing.assert_close((a @ b).to_matrix4(), a.to_matrix4() @ b.to_matrix4())
    assert_same(Rigid.from_matrix4(a.to_matrix4()), a)


def test_from_three_points() -> None:
    before, origin, plane = random(3, 50, 3)
    frame = Rigid.from_three_points(before, origin, plane, eps=0.0)
    torch.testing.assert_close(torch.linalg.det(frame.rotation), torch.ones(50).double())
    assert torch.equal(frame.translation, origin)
    x, y, z = frame.invert_apply(before).unbind(-1)
    assert (x < 0).all()
    torch.testing.assert_close(torch.stack([y, z]), torch.zeros(2, 50).double())
    _, y, z = frame.invert_apply(plane).unbind(-1)
    assert (y > 0).all()
    torch.testing.assert_close(z, torch.zeros(50).double())


def test_three_points_move_with_the_frame() -> None:
    points, motion = random(3, 10, 3), random_rigid(10)
    moved = Rigid.from_three_points(*motion.apply(points))
    assert_same(moved, motion @ Rigid.from_three_points(*points))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_degenerate_points_have_finite_gradients(dtype: torch.dtype) -> None:
    line = torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]], dtype=dtype)
    for points in (line, torch.zeros(3, 3, dtype=dtype), line[[0, 0, 1]], line[[0, 1, 1]]):
        points = points.clone().requires_grad_()
        frame = Rigid.from_three_points(*points)
        (frame.rotation.sum() + frame.translation.sum()).backward()
        assert points.grad is not None
        assert torch.isfinite(points.grad).all()
        assert torch.isfinite(frame.rotation).all()


def test_update_of_zero_changes_nothing() -> None:
    frames = random_rigid(6)
    assert_same(frames.update(torch.zeros(6, 6).double()), frames)


def test_update_moves_in_the_frames_own_coordinates() -> None:
    frames = random_rigid(1)
    half = math.tan(math.pi / 4)  # the imaginary part is the tangent of half the angle
    moved = frames.update(torch.tensor([[half, 0, 0, 1, 2, 3]]).double())
    inner = frames.inverse() @ moved
    torch.testing.assert_close(inner.translation, torch.tensor([[1.0, 2, 3]]).double())
    expected = torch.tensor([[[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]]).double()
    torch.testing.assert_close(inner.rotation, expected)


def test_update_follows_the_frames_dtype() -> None:
    frames = random_rigid(6)
    moved = frames.update(random(6, 6).bfloat16())
    assert moved.rotation.dtype == moved.translation.dtype == torch.float64
    eye = torch.eye(3).double().expand(6, 3, 3)
    torch.testing.assert_close(moved.rotation @ moved.rotation.mT, eye)


def test_detached_rotation_stops_only_its_gradient() -> None:
    rotation, translation = random(2, 3, 3).requires_grad_(), random(2, 3).requires_grad_()
    frames = Rigid(rotation, translation).detach_rotation()
    frames.apply(random(2, 3, seed=1)).sum().backward()
    assert rotation.grad is None
    assert torch.equal(translation.grad, torch.ones(2, 3).double())


def test_scaling_changes_the_unit_only() -> None:
    frames, points = random_rigid(6), random(6, 3)
    scaled = frames.scale_translation(10.0)
    torch.testing.assert_close(scaled.apply(points * 10), frames.apply(points) * 10)


def test_gradients() -> None:
    def points_to_frame(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> tuple[Tensor, ...]:
        frame = Rigid.from_three_points(a, b, c)
        return frame.rotation, frame.invert_apply(d), frame.inverse().to_matrix4()

    def update(q: Tensor) -> Tensor:
        return random_rigid(4).update(q).to_matrix4()

    points = [random(4, 3, seed=seed).requires_grad_() for seed in range(4)]
    assert torch.autograd.gradcheck(points_to_frame, points)
    assert torch.autograd.gradcheck(update, (random(4, 6).requires_grad_(),))


def test_agrees_with_openfold3() -> None:
    other = pytest.importorskip("openfold3.core.utils.rigid_utils").Rigid
    points, updates = random(3, 8, 3).float(), random(5, 8, 6).float()
    ours, theirs = Rigid.from_three_points(*points), other.from_3_points(*points)
    torch.testing.assert_close(ours.to_matrix4(), theirs.to_tensor_4x4())
    ours, theirs = Rigid.identity((8,), like=points), other.identity((8,), fmt="quat")
    for update in updates:
        ours, theirs = ours.update(update), theirs.compose_q_update_vec(update)
    torch.testing.assert_close(ours.to_matrix4(), theirs.to_tensor_4x4(), atol=1e-5, rtol=1e-5)
