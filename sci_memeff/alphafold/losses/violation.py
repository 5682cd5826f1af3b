"""Structural violations: peptide bonds, clashes, and geometry within residues (Supplement 1.9.11).

Axes: i j residues, a b their 14 atoms, k the three measures of a peptide bond: the length C-N and
the cosines of the angles CA-C-N and C-N-CA.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from sci_memeff._types import Mask, Walk, whole
from sci_memeff.alphafold.geometry import look_up
from sci_memeff.alphafold.losses.binned import EPS
from sci_memeff.alphafold.losses.distances import distances
from sci_memeff.chemistry import (
    C_N_CA_COSINE,
    C_N_CA_COSINE_STDDEV,
    C_N_LENGTH,
    C_N_LENGTH_BEFORE_PROLINE,
    C_N_LENGTH_STDDEV,
    C_N_LENGTH_STDDEV_BEFORE_PROLINE,
    CA_C_N_COSINE,
    CA_C_N_COSINE_STDDEV,
    RESIDUE_ATOMS,
    RESTYPE_ATOM14,
    RESTYPE_INDEX,
    VAN_DER_WAALS,
    atom14_distance_bounds,
)

__all__ = ["ViolationLoss", "Violations"]

N, CA, C = 0, 1, 2  # columns of atom14
SULPHUR = RESIDUE_ATOMS["CYS"].index("SG")
PROLINE = RESTYPE_INDEX["P"]
CONNECTION_EPS = 1e-6  # Å² under the roots, and added to the number of bonds
DISTANCE_EPS = 1e-10  # Å² under the roots

# Means and standard deviations of the three measures, by whether proline follows.
CONNECTION_MEAN = np.array(
    [
        [C_N_LENGTH, CA_C_N_COSINE, C_N_CA_COSINE],
        [C_N_LENGTH_BEFORE_PROLINE, CA_C_N_COSINE, C_N_CA_COSINE],
    ]
)
CONNECTION_STDDEV = np.array(
    [
        [C_N_LENGTH_STDDEV, CA_C_N_COSINE_STDDEV, C_N_CA_COSINE_STDDEV],
        [C_N_LENGTH_STDDEV_BEFORE_PROLINE, CA_C_N_COSINE_STDDEV, C_N_CA_COSINE_STDDEV],
    ]
)
RADIUS = np.array([[VAN_DER_WAALS.get(name[:1], 0.0) for name in row] for row in RESTYPE_ATOM14])


@dataclass(frozen=True)
class Violations:
    """What each part of a structure is charged; 0 where it violates nothing."""

    connection: Float[Tensor, "*b k"]  # mean over the peptide bonds
    clashes: Float[Tensor, "*b i 14"]  # Å, with atoms of other residues
    within: Float[Tensor, "*b i 14"]  # Å, with atoms of the same residue


class ViolationLoss(nn.Module):
    """Flat-bottomed penalties on geometry that no real protein has (equations 44 to 47).

    Each of the three parts is a walk over residues. The angle CA-C-N is judged by its own standard
    deviation: AlphaFold's code, and OpenFold v2 after it, took that of the bond C-N (0.014 for
    0.0311) until AlphaFold's correction of 2025-09-23.
    """

    walk: Walk

    def __init__(self, bond_tolerance: float = 12.0, clash_tolerance: float = 1.5) -> None:
        super().__init__()
        self.bond_tolerance = bond_tolerance  # standard deviations
        self.clash_tolerance = clash_tolerance  # Å of overlap
        self.bounds = atom14_distance_bounds(clash_tolerance, bond_tolerance)[:2]
        self.walk = whole

    def forward(
        self, positions: Float[Tensor, "*b i 14 3"], batch: Mapping[str, Tensor]
    ) -> Float[Tensor, "*b"]:
        """The loss of each sample, for predicted `positions` in Å."""
        found = self.find(positions, batch)
        num_atoms = batch["atom14_atom_exists"].sum((-1, -2))
        per_atom = (found.clashes + found.within).sum((-1, -2))
        return found.connection.sum(-1) + per_atom / (EPS + num_atoms)

    def find(
        self, positions: Float[Tensor, "*b i 14 3"], batch: Mapping[str, Tensor]
    ) -> Violations:
        """All violations, part by part."""
        exists, aatype = batch["atom14_atom_exists"], batch["aatype"]
        index = batch["residue_index"]
        errors, counts = self.walk(
            self.connection_rows,
            rows=(
                positions[..., :-1, : C + 1, :],
                positions[..., 1:, : CA + 1, :],
                exists[..., :-1, : C + 1],
                exists[..., 1:, : CA + 1],
                index[..., 1:] - index[..., :-1] == 1,
                aatype[..., 1:],
            ),
            in_dims=(-3, -3, -2, -2, -1, -1),
            out_dims=(-2, -2),
        )
        atoms = (positions, exists, exists * look_up(RADIUS, aatype, positions), index)
        return Violations(
            errors.sum(-2) / (CONNECTION_EPS + counts.sum(-2)),
            self.walk(
                self.clash_rows, rows=atoms, shared=atoms, in_dims=(-3, -2, -2, -1), out_dims=-2
            ),
            self.walk(
                self.within_rows,
                rows=(positions, exists, aatype),
                in_dims=(-3, -2, -1),
                out_dims=-2,
            ),
        )

    def connection_rows(
        self,
        here: Float[Tensor, "*b i 3 3"],
        there: Float[Tensor, "*b i 2 3"],
        here_exists: Mask[Tensor, "*b i 3"],
        there_exists: Mask[Tensor, "*b i 2"],
        bonded: Bool[Tensor, "*b i"],
        next_aatype: Int[Tensor, "*b i"],
    ) -> tuple[Float[Tensor, "*b i 3"], Mask[Tensor, "*b i 3"]]:
        """Errors of the bonds from some residues (N CA C) to the next (N CA), and their masks."""
        to_ca, _ = _direction(here[..., C, :], here[..., CA, :])
        to_n, length = _direction(here[..., C, :], there[..., N, :])
        onward, _ = _direction(there[..., N, :], there[..., CA, :])
        ca_c_n, c_n_ca = (to_ca * to_n).sum(-1), -(to_n * onward).sum(-1)
        measured = torch.stack([length, ca_c_n, c_n_ca], -1)
        proline = (next_aatype == PROLINE).long()
        off = (measured - look_up(CONNECTION_MEAN, proline, measured)).square()
        slack = self.bond_tolerance * look_up(CONNECTION_STDDEV, proline, measured)
        peptide = here_exists[..., C] * there_exists[..., N] * bonded
        with_ca, onto_ca = peptide * here_exists[..., CA], peptide * there_exists[..., CA]
        mask = torch.stack([peptide, with_ca, onto_ca], -1)
        return functional.relu((CONNECTION_EPS + off).sqrt() - slack) * mask, mask

    def clash_rows(
        self, x: Tensor, exists: Tensor, radius: Tensor, index: Tensor, *rest: Tensor
    ) -> Float[Tensor, "*b i 14"]:
        """By how far the atoms of some residues i overlap those of others; `rest` is all j."""
        all_x, all_exist, all_radii, all_index = rest
        distance = distances(x[..., :, None, :, :], all_x[..., None, :, :, :], DISTANCE_EPS)
        steps = (all_index[..., None, :] - index[..., :, None])[..., None, None]
        bonds = x.new_zeros(2, 14, 14)
        bonds[0, C, N] = bonds[1, N, C] = 1.0
        # Sulphur bridges are no clash. The column of cysteine's SG is let off in all residues, as
        # AlphaFold 2 was trained.
        bridges = x.new_zeros(14, 14)
        bridges[SULPHUR, SULPHUR] = 1.0
        free = (steps != 0) * (1.0 - bridges) * (1.0 - (steps == 1) * bonds[0])
        pairs = free * (1.0 - (steps == -1) * bonds[1])
        pairs = pairs * exists[..., :, None, :, None] * all_exist[..., None, :, None, :]
        contact = radius[..., :, None, :, None] + all_radii[..., None, :, None, :]
        overlap = functional.relu(contact - self.clash_tolerance - distance)
        return (pairs * overlap).sum((-1, -3))

    def within_rows(
        self,
        x: Float[Tensor, "*b i 14 3"],
        exists: Mask[Tensor, "*b i 14"],
        aatype: Int[Tensor, "*b i"],
    ) -> Float[Tensor, "*b i 14"]:
        """By how far the distances within some residues are out of bounds; each counts twice."""
        lower, upper = (look_up(bound, aatype, x) for bound in self.bounds)
        distance = distances(x, x, DISTANCE_EPS)
        pairs = exists[..., :, None] * exists[..., None, :]
        pairs = pairs * (1.0 - torch.eye(14, dtype=x.dtype, device=x.device))
        error = functional.relu(lower - distance) + functional.relu(distance - upper)
        return 2.0 * (pairs * error).sum(-1)


def _direction(
    start: Float[Tensor, "*b 3"], end: Float[Tensor, "*b 3"]
) -> tuple[Float[Tensor, "*b 3"], Float[Tensor, "*b"]]:
    """The unit vector from start to end, and their distance."""
    offset = end - start
    length = (CONNECTION_EPS + offset.square().sum(-1)).sqrt()
    return offset / length[..., None], length
