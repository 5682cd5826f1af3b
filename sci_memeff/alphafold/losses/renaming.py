"""Naming the true structure's exchangeable atoms after the prediction (Algorithm 26).

Axes: i j residues, a b their 14 atoms.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sci_memeff._types import Mask, Walk, whole

__all__ = ["Renamed", "SymmetricRenaming"]

EPS = 1e-10  # Å² under the roots


class Renamed(NamedTuple):
    """The true structure under the better naming of each residue's exchangeable atoms."""

    swapped: Mask[Tensor, "*b i"]
    positions: Float[Tensor, "*b i 14 3"]
    exists: Mask[Tensor, "*b i 14"]
    frames: Float[Tensor, "*b i 8 4 4"]


class SymmetricRenaming(nn.Module):
    """Takes the other naming where it keeps distances to unambiguous atoms better.

    Residues are independent once all positions are known. No gradient passes. Reads from the
    batch `atom14_gt_*`, `atom14_alt_gt_*`, `atom14_atom_is_ambiguous` and both
    `rigidgroups_*gt_frames`.
    """

    walk: Walk

    def __init__(self) -> None:
        super().__init__()
        self.walk = whole

    def forward(
        self, positions: Float[Tensor, "*b i 14 3"], batch: Mapping[str, Tensor]
    ) -> Renamed:
        """The truth named after the predicted `positions`, Å."""
        exists, ambiguous = batch["atom14_gt_exists"], batch["atom14_atom_is_ambiguous"]
        points = (
            positions.detach(),
            batch["atom14_gt_positions"],
            batch["atom14_alt_gt_positions"],
        )
        swapped = self.walk(
            self.rows,
            rows=(*points, exists * ambiguous),
            shared=(*points, exists * (1.0 - ambiguous)),
            in_dims=(-3, -3, -3, -2),
            out_dims=-1,
        )
        return Renamed(
            swapped,
            _choose(swapped, batch["atom14_gt_positions"], batch["atom14_alt_gt_positions"]),
            _choose(swapped, exists, batch["atom14_alt_gt_exists"]),
            _choose(swapped, batch["rigidgroups_gt_frames"], batch["rigidgroups_alt_gt_frames"]),
        )

    def rows(
        self, x: Tensor, true_x: Tensor, other_x: Tensor, moved: Tensor, *rest: Tensor
    ) -> Float[Tensor, "*b i"]:
        """1 for some residues i that are better off with the other naming; `rest` is all j."""
        distance = _distances(x, rest[0])
        pairs = moved[..., :, None, :, None] * rest[3][..., None, :, None, :]
        error, other_error = (
            (pairs * (EPS + (distance - _distances(*truth)).square()).sqrt()).sum((-1, -2, -3))
            for truth in ((true_x, rest[1]), (other_x, rest[2]))
        )
        return (other_error < error).to(x.dtype)


def _distances(
    x: Float[Tensor, "*b i a 3"], y: Float[Tensor, "*b j c 3"]
) -> Float[Tensor, "*b i j a c"]:
    offset = x[..., :, None, :, None, :] - y[..., None, :, None, :, :]
    return (EPS + offset.square().sum(-1)).sqrt()


def _choose(swapped: Tensor, one: Tensor, other: Tensor) -> Tensor:
    swapped = swapped.reshape(swapped.shape + (1,) * (one.ndim - swapped.ndim))
    return torch.where(swapped.bool(), other, one)
