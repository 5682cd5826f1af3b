import math

import pytest
import torch
from torch import Tensor

from sci_memeff.alphafold.geometry.rotation import (
    matmul,
    quaternion_to_rotation,
    rotate,
    rotation_about_x,
)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def hamilton(p: Tensor, q: Tensor) -> Tensor:
    a, u, b, v = p[..., :1], p[..., 1:], q[..., :1], q[..., 1:]
    real = a * b - (u * v).sum(-1, keepdim=True)
    return torch.cat([real, a * v + b * u + torch.linalg.cross(u, v)], dim=-1)


def test_products_are_matrix_products() -> None:
    left, right, points = random(5, 1, 3, 3), random(4, 3, 3, seed=1), random(4, 3, seed=2)
    torch.testing.assert_close(matmul(left, right), left @ right)
    torch.testing.assert_close(rotate(left, points), (left @ points[..., None])[..., 0])


def test_products_stay_out_of_autocast() -> None:
    left, right = random(3, 3).float(), random(3, 3, seed=1).float()
    with torch.autocast("cpu", torch.bfloat16):
        product, points = matmul(left, right), rotate(left, right[0])
    assert torch.equal(product, matmul(left, right))
    assert torch.equal(points, rotate(left, right[0]))


@pytest.mark.parametrize("axis", range(3))
def test_quaternion_turns_about_its_axis(axis: int) -> None:
    angle = 0.7
    quaternion = torch.zeros(4, dtype=torch.float64)
    quaternion[0], quaternion[1 + axis] = math.cos(angle / 2), math.sin(angle / 2)
    first, second = (axis + 1) % 3, (axis + 2) % 3
    expected = torch.eye(3, dtype=torch.float64)
    expected[first, first] = expected[second, second] = math.cos(angle)
    expected[second, first], expected[first, second] = math.sin(angle), -math.sin(angle)
    torch.testing.assert_close(quaternion_to_rotation(quaternion), expected)


def test_quaternions_of_any_length_give_rotations() -> None:
    quaternion = random(20, 4)
    rotation = quaternion_to_rotation(quaternion)
    eye = torch.eye(3, dtype=torch.float64).expand(20, 3, 3)
    torch.testing.assert_close(rotation @ rotation.mT, eye)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(20, dtype=torch.float64))
    torch.testing.assert_close(quaternion_to_rotation(-3 * quaternion), rotation)


def test_product_of_quaternions_is_product_of_rotations() -> None:
    p, q = random(20, 4), random(20, 4, seed=1)
    expected = quaternion_to_rotation(p) @ quaternion_to_rotation(q)
    torch.testing.assert_close(quaternion_to_rotation(hamilton(p, q)), expected)


def test_rotation_about_x() -> None:
    turn = rotation_about_x(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    assert torch.equal(turn[0] @ torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, -3.0, 2.0]))
    assert torch.equal(turn[1], torch.eye(3))


def test_gradients() -> None:
    left, right = random(2, 3, 3).requires_grad_(), random(3, 1, 3, 3, seed=1).requires_grad_()
    quaternion, points = random(3, 4).requires_grad_(), random(2, 3, seed=2).requires_grad_()
    assert torch.autograd.gradcheck(matmul, (left, right))
    assert torch.autograd.gradcheck(rotate, (left, points))
    assert torch.autograd.gradcheck(quaternion_to_rotation, (quaternion,))
    assert torch.autograd.gradcheck(rotation_about_x, (random(3, 2).requires_grad_(),))
