"""How far apart atoms should be: contact radii, the peptide bond, bounds within a residue.

The numbers behind AlphaFold 2's structural violation loss (Supplement 1.9.11, equations 44-47).
"""

from __future__ import annotations

import math

import numpy as np

from sci_memeff.chemistry.atoms import RESTYPE_ATOM14
from sci_memeff.chemistry.bond_angles import RESIDUE_ANGLES, Angle
from sci_memeff.chemistry.bond_lengths import RESIDUE_BONDS, Bond
from sci_memeff.chemistry.residues import NUM_RESTYPES, THREE_LETTERS

__all__ = [
    "CA_C_N_COSINE",
    "CA_C_N_COSINE_STDDEV",
    "C_N_CA_COSINE",
    "C_N_CA_COSINE_STDDEV",
    "C_N_LENGTH",
    "C_N_LENGTH_BEFORE_PROLINE",
    "C_N_LENGTH_STDDEV",
    "C_N_LENGTH_STDDEV_BEFORE_PROLINE",
    "NO_UPPER_BOUND",
    "RESIDUE_ANGLES",
    "RESIDUE_BONDS",
    "VAN_DER_WAALS",
    "atom14_distance_bounds",
    "opposite_side",
]

VAN_DER_WAALS = {"C": 1.7, "N": 1.55, "O": 1.52, "S": 1.8}  # Å, by element

# The bond from a residue's C to the next one's N, Å, and the cosines of the angles beside it.
C_N_LENGTH, C_N_LENGTH_STDDEV = 1.329, 0.014
C_N_LENGTH_BEFORE_PROLINE, C_N_LENGTH_STDDEV_BEFORE_PROLINE = 1.341, 0.016
CA_C_N_COSINE, CA_C_N_COSINE_STDDEV = -0.4473, 0.0311  # 116.6° ± 2.0°
C_N_CA_COSINE, C_N_CA_COSINE_STDDEV = -0.5203, 0.0353  # 121.4° ± 2.3°

NO_UPPER_BOUND = 1e10  # Å, for atoms that no bond or angle ties together


def opposite_side(angle: Angle, bonds: tuple[Bond, ...]) -> Bond:
    """The distance between the outer atoms of `angle`, by the law of cosines.

    Its standard deviation is that of two lengths and an angle with independent errors.
    """
    by_atoms = {frozenset((bond.first, bond.second)): bond for bond in bonds}
    a = by_atoms[frozenset((angle.first, angle.middle))]
    b = by_atoms[frozenset((angle.middle, angle.last))]
    cosine, sine = math.cos(angle.angle), math.sin(angle.angle)
    length = math.sqrt(a.length**2 + b.length**2 - 2 * a.length * b.length * cosine)
    by_a = (a.length - b.length * cosine) / length
    by_b = (b.length - a.length * cosine) / length
    by_angle = a.length * b.length * sine / length
    stddev = math.hypot(by_a * a.stddev, by_b * b.stddev, by_angle * angle.stddev)
    return Bond(angle.first, angle.last, length, stddev)


def atom14_distance_bounds(
    overlap_tolerance: float, bond_length_tolerance_factor: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bounds on the distances within a residue, Å: (lower, upper, stddev), each (21, 14, 14).

    Atoms tied by a bond or an angle: mean ± factor · stddev. Others may overlap their radii by
    the tolerance and have no upper bound; their stddev is 0. AlphaFold 2 trains with 1.5 Å and 12.
    All three are 0 on the diagonal and where an atom does not exist.
    """
    lower, upper, stddev = np.zeros((3, NUM_RESTYPES, 14, 14), np.float32)
    for restype, three in enumerate(THREE_LETTERS):
        names = [name for name in RESTYPE_ATOM14[restype] if name]
        size = len(names)
        radii = np.array([VAN_DER_WAALS[name[0]] for name in names])
        apart = ~np.eye(size, dtype=bool)
        lower[restype, :size, :size] = (radii[:, None] + radii - overlap_tolerance) * apart
        upper[restype, :size, :size] = NO_UPPER_BOUND * apart
        bonds = RESIDUE_BONDS[three]
        for tie in [*bonds, *(opposite_side(angle, bonds) for angle in RESIDUE_ANGLES[three])]:
            i, j = names.index(tie.first), names.index(tie.second)
            slack = bond_length_tolerance_factor * tie.stddev
            lower[restype, [i, j], [j, i]] = tie.length - slack
            upper[restype, [i, j], [j, i]] = tie.length + slack
            stddev[restype, [i, j], [j, i]] = tie.stddev
    return lower, upper, stddev
