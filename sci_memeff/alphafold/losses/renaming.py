"""Naming the true structure's exchangeable atoms after the prediction (Algorithm 26).

Axes: i j residues, a b their 14 atoms.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from sci_memeff._types import Mask, Walk, whole
from sci_memeff.alphafold.losses.distances import distances
from sci_memeff.chemistry import ATOM14_AMBIGUOUS

__all__ = ["Renamed", "SymmetricRenaming"]

EPS = 1e-10  # Å² under the roots
_columns = np.flatnonzero(ATOM14_AMBIGUOUS.max(axis=0))
COLUMNS = slice(int(_columns.min()), int(_columns.max()) + 1)  # of all exchangeable atoms


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
            shared=(*points, exists * (ambiguous == 0)),
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
        some = (points[..., :, None, COLUMNS, :] for points in (x, true_x, other_x))
        distance, true_distance, other_distance = (
            distances(points, others[..., None, :, :, :], EPS)
            for points, others in zip(some, rest[:3], strict=True)
        )
        pairs = moved[..., :, None, COLUMNS, None] * rest[3][..., None, :, None, :]
        error, other_error = (
            (pairs * (EPS + (distance - truth).square()).sqrt()).sum((-1, -2, -3))
            for truth in (true_distance, other_distance)
        )
        return (other_error < error).to(x.dtype)


def _choose(swapped: Tensor, one: Tensor, other: Tensor) -> Tensor:
    swapped = swapped.reshape(swapped.shape + (1,) * (one.ndim - swapped.ndim))
    return torch.where(swapped.bool(), other, one)
