"""The rigid motion that brings one set of points nearest to another (Kabsch, 1976)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sci_memeff._types import Mask
from sci_memeff.alphafold.geometry.rigid import Rigid

__all__ = ["superposition"]


@torch.no_grad()
def superposition(
    moving: Float[Tensor, "*b n 3"], target: Float[Tensor, "*b n 3"], mask: Mask[Tensor, "*b n"]
) -> Rigid:
    """The motion (*b,) that minimises Σ |R·moving + t − target|² over the points of the mask.

    Never a reflection. Points outside the mask may be anything, NaN included. In float64 within;
    no gradient passes: what is minimal over the motion has the gradient it has at a fixed one.
    """
    known = mask[..., None] > 0
    x, y = (torch.where(known, points, 0.0).double() for points in (moving, target))
    count = known.sum(-2, keepdim=True).clamp(min=1)
    x_centre, y_centre = (points.sum(-2, keepdim=True) / count for points in (x, y))
    x, y = (x - x_centre) * known, (y - y_centre) * known
    u, _, vh = torch.linalg.svd(x.transpose(-1, -2) @ y)
    # With a reflection the covariance is best met by turning the axis of least spread.
    handedness = torch.ones_like(u[..., 0])
    handedness[..., 2] = torch.linalg.det(u @ vh).sign()
    rotation = (vh.transpose(-1, -2) * handedness[..., None, :]) @ u.transpose(-1, -2)
    translation = y_centre - x_centre @ rotation.transpose(-1, -2)
    return Rigid(rotation.to(moving.dtype), translation[..., 0, :].to(moving.dtype))
