"""Rotation matrices from what the network predicts: quaternions, and sines with cosines.

Products are written as sums of scaled columns, not as matrix products: autocast would lower those
to 16 bits, and positions do not survive that. Nor is any product of two broadcast operands kept.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["matmul", "quaternion_to_rotation", "rotate", "rotation_about_x"]


def rotate(
    rotation: Float[Tensor, "*#b 3 3"], points: Float[Tensor, "*#b 3"]
) -> Float[Tensor, "*c 3"]:
    """Rotation times point; leading dimensions broadcast."""
    x, y, z = points[..., None, 0], points[..., None, 1], points[..., None, 2]
    return rotation[..., 0] * x + rotation[..., 1] * y + rotation[..., 2] * z


def matmul(
    left: Float[Tensor, "*#b 3 3"], right: Float[Tensor, "*#b 3 3"]
) -> Float[Tensor, "*c 3 3"]:
    """Product of two rotations, the right one first; leading dimensions broadcast."""
    terms = [left[..., :, k, None] * right[..., None, k, :] for k in range(3)]
    return terms[0] + terms[1] + terms[2]


def quaternion_to_rotation(quaternion: Float[Tensor, "*b 4"]) -> Float[Tensor, "*b 3 3"]:
    """Rotation of a quaternion (a, b, c, d) = a + bi + cj + dk of any length but zero.

    Supplement 1.8.3, Algorithm 23, lines 2 and 3. q and −q are the same rotation.
    """
    a, b, c, d = quaternion.unbind(-1)
    entries = [
        [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
        [2 * (b * c + a * d), a * a - b * b + c * c - d * d, 2 * (c * d - a * b)],
        [2 * (b * d - a * c), 2 * (c * d + a * b), a * a - b * b - c * c + d * d],
    ]
    rows = torch.stack([torch.stack(row, dim=-1) for row in entries], dim=-2)
    return rows / quaternion.square().sum(-1)[..., None, None]


def rotation_about_x(sin_cos: Float[Tensor, "*b 2"]) -> Float[Tensor, "*b 3 3"]:
    """Rotation about the x axis by the angle whose (sine, cosine) is given (Algorithm 25)."""
    sine, cosine = sin_cos.unbind(-1)
    zero, one = torch.zeros_like(sine), torch.ones_like(sine)
    entries = [[one, zero, zero], [zero, cosine, -sine], [zero, sine, cosine]]
    return torch.stack([torch.stack(row, dim=-1) for row in entries], dim=-2)
