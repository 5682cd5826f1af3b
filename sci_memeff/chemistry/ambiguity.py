"""Atoms whose names may be exchanged without changing the molecule (Supplement 1.8.5, Table 3).

Two atoms on either side of a symmetry axis get their names by convention; a prediction that has
them the other way round is just as right.
"""

from __future__ import annotations

import numpy as np

from sci_memeff.chemistry.atoms import RESTYPE_ATOM14
from sci_memeff.chemistry.frozen import frozen
from sci_memeff.chemistry.ideal_positions import CHI1, NUM_GROUPS
from sci_memeff.chemistry.residues import NUM_RESTYPES, RESTYPE_INDEX, THREE_TO_ONE
from sci_memeff.chemistry.torsions import CHI_ATOMS

__all__ = ["ATOM14_AMBIGUOUS", "ATOM14_SWAP", "GROUP_AMBIGUOUS", "SWAPPED_ATOMS"]

SWAPPED_ATOMS: dict[str, tuple[tuple[str, str], ...]] = {
    "ASP": (("OD1", "OD2"),),
    "GLU": (("OE1", "OE2"),),
    "PHE": (("CD1", "CD2"), ("CE1", "CE2")),
    "TYR": (("CD1", "CD2"), ("CE1", "CE2")),
}


def _tables() -> tuple[np.ndarray, np.ndarray]:
    swap = np.tile(np.arange(14), (NUM_RESTYPES, 1))
    group = np.zeros((NUM_RESTYPES, NUM_GROUPS))
    for three, pairs in SWAPPED_ATOMS.items():
        restype = RESTYPE_INDEX[THREE_TO_ONE[three]]
        for pair in pairs:
            columns = [RESTYPE_ATOM14[restype].index(name) for name in pair]
            swap[restype, columns] = columns[::-1]
        group[restype, CHI1 + len(CHI_ATOMS[three]) - 1] = 1.0
    return swap, group


_swap, _group = _tables()
ATOM14_SWAP = frozen(_swap, np.int64)
"""(21, 14): the column each atom's position comes from under the other naming."""
ATOM14_AMBIGUOUS = frozen(_swap != np.arange(14), np.float32)
"""(21, 14): atoms that the other naming moves."""
GROUP_AMBIGUOUS = frozen(_group, np.float32)
"""(21, 8): groups that the other naming turns by π about their axis."""
