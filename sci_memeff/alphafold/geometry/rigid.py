"""Rigid motions of space, x ↦ R·x + t: residue frames and how they are moved.

Supplement 1.8 and 1.8.3, Algorithms 21 and 23. Every method is differentiable, follows the
dtype and device of its tensors, and lets leading dimensions broadcast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sci_memeff.alphafold.geometry.rotation import matmul, quaternion_to_rotation, rotate

__all__ = ["Rigid"]


@dataclass(frozen=True, eq=False)
class Rigid:
    """Rotations (*b, 3, 3) and translations (*b, 3), Å unless the caller scaled them."""

    rotation: Float[Tensor, "*b 3 3"]
    translation: Float[Tensor, "*b 3"]

    @staticmethod
    def identity(shape: Sequence[int], like: Tensor) -> Rigid:
        """Motions that move nothing, of the dtype and device of `like`."""
        rotation = torch.eye(3, dtype=like.dtype, device=like.device).expand(*shape, 3, 3)
        return Rigid(rotation, like.new_zeros((*shape, 3)))

    @staticmethod
    def from_three_points(
        p_neg_x: Float[Tensor, "*b 3"],
        origin: Float[Tensor, "*b 3"],
        p_xy: Float[Tensor, "*b 3"],
        eps: float = 1e-8,
    ) -> Rigid:
        """The frame at `origin` with `p_neg_x` on its negative x axis and `p_xy` at positive y.

        Algorithm 21 (Gram–Schmidt). `eps`, Å², keeps points that coincide or lie on one line, as
        those of missing atoms do, from giving NaN; their frame is no rotation and must be masked.
        """
        x = _unit(origin - p_neg_x, eps)
        y = p_xy - origin
        y = _unit(y - x * (x * y).sum(-1, keepdim=True), eps)
        return Rigid(torch.stack([x, y, torch.linalg.cross(x, y)], dim=-1), origin)

    @staticmethod
    def from_matrix4(matrix: Float[Tensor, "*b 4 4"]) -> Rigid:
        """The motions of homogeneous 4×4 matrices; the last row is not looked at."""
        return Rigid(matrix[..., :3, :3], matrix[..., :3, 3])

    def to_matrix4(self) -> Float[Tensor, "*b 4 4"]:
        """The homogeneous 4×4 matrices of these motions."""
        top = torch.cat([self.rotation, self.translation[..., None]], dim=-1)
        bottom = torch.eye(4, dtype=top.dtype, device=top.device)[3:]
        return torch.cat([top, bottom.expand(*self.shape, 1, 4)], dim=-2)

    @property
    def shape(self) -> torch.Size:
        """The leading dimensions."""
        return self.translation.shape[:-1]

    def __getitem__(self, index: Any) -> Rigid:
        index = index if isinstance(index, tuple) else (index,)
        everything = slice(None)
        rotation = self.rotation[(*index, everything, everything)]
        return Rigid(rotation, self.translation[(*index, everything)])

    def unsqueeze(self, dim: int) -> Rigid:
        """Insert a dimension of size 1 among the leading ones; `dim` counts them only."""
        rotation = self.rotation.unsqueeze(dim if dim >= 0 else dim - 2)
        return Rigid(rotation, self.translation.unsqueeze(dim if dim >= 0 else dim - 1))

    def compose(self, inner: Rigid) -> Rigid:
        """The motion that applies `inner` first and then this one."""
        return Rigid(matmul(self.rotation, inner.rotation), self.apply(inner.translation))

    def __matmul__(self, inner: Rigid) -> Rigid:
        return self.compose(inner)

    def apply(self, points: Float[Tensor, "*p 3"]) -> Float[Tensor, "*q 3"]:
        """Points from the frame's own coordinates to global ones."""
        return rotate(self.rotation, points) + self.translation

    def invert_apply(self, points: Float[Tensor, "*p 3"]) -> Float[Tensor, "*q 3"]:
        """Points from global coordinates to the frame's own."""
        return rotate(self.rotation.transpose(-1, -2), points - self.translation)

    def inverse(self) -> Rigid:
        """The motion that undoes this one."""
        rotation = self.rotation.transpose(-1, -2)
        return Rigid(rotation, -rotate(rotation, self.translation))

    def scale_translation(self, factor: float) -> Rigid:
        """The same motions with another unit of length."""
        return Rigid(self.rotation, self.translation * factor)

    def detach_rotation(self) -> Rigid:
        """The same motions, with no gradient through the rotations (Algorithm 20, line 20)."""
        return Rigid(self.rotation.detach(), self.translation)

    def update(self, update: Float[Tensor, "*b 6"]) -> Rigid:
        """Move each frame, in its own coordinates, by a predicted (b, c, d, t) (Algorithm 23).

        The rotation is that of the quaternion (1, b, c, d): never more than half a turn, and none
        at all for an update of zero. The update takes the frames' dtype.
        """
        imaginary, translation = update.to(self.rotation.dtype).split(3, dim=-1)
        quaternion = torch.cat([torch.ones_like(imaginary[..., :1]), imaginary], dim=-1)
        return self @ Rigid(quaternion_to_rotation(quaternion), translation)


def _unit(vector: Tensor, eps: float) -> Tensor:
    return vector / torch.sqrt(vector.square().sum(-1, keepdim=True) + eps)
