"""Side-chain torsions χ1 to χ4: the four atoms of each, and which look the same turned by π.

Arginine's fifth torsion stays within a few degrees of zero and counts as rigid (AlphaFold 2,
Supplement 1.8.1, Table 2).
"""

from __future__ import annotations

import numpy as np

from sci_memeff.chemistry.atoms import ATOM37_INDEX
from sci_memeff.chemistry.frozen import frozen
from sci_memeff.chemistry.residues import NUM_RESTYPES, RESTYPE_INDEX, THREE_LETTERS, THREE_TO_ONE

__all__ = ["CHI_ATOM37", "CHI_ATOMS", "CHI_MASK", "CHI_PI_PERIODIC", "NUM_CHIS"]

NUM_CHIS = 4

CHI_ATOMS: dict[str, list[tuple[str, str, str, str]]] = {
    "ALA": [],
    "ARG": [
        ("N", "CA", "CB", "CG"),
        ("CA", "CB", "CG", "CD"),
        ("CB", "CG", "CD", "NE"),
        ("CG", "CD", "NE", "CZ"),
    ],
    "ASN": [("N", "CA", "CB", "CG"), ("CA", "CB", "CG", "OD1")],
    "ASP": [("N", "CA", "CB", "CG"), ("CA", "CB", "CG", "OD1")],
    "CYS": [("N", "CA", "CB", "SG")],
    "GLN": [("N", "CA", "CB", "CG"), ("CA", "CB", "CG", "CD"), ("CB", "CG", "CD", "OE1")],
    "GLU": [("N", "CA", "CB", "CG"), ("CA", "CB", "CG", "CD"), ("CB", "CG", "CD", "OE1")],
    "GLY": [],
    "HIS": [("N", "CA", "CB", "CG"), ("CA", "CB", "CG", "ND1")],
    "ILE": [("N", "CA", "CB", "CG1"), ("CA", "CB", "CG1", "CD1")],
    "LEU": [("N", "CA", "CB", "CG"), ("CA", "CB", "CG", "CD1")],
    "LYS": [
        ("N", "CA", "CB", "CG"),
        ("CA", "CB", "CG", "CD"),
        ("CB", "CG", "CD", "CE"),
        ("CG", "CD", "CE", "NZ"),
    ],
    "MET": [("N", "CA", "CB", "CG"), ("CA", "CB", "CG", "SD"), ("CB", "CG", "SD", "CE")],
    "PHE": [("N", "CA", "CB", "CG"), ("CA", "CB", "CG", "CD1")],
    "PRO": [("N", "CA", "CB", "CG"), ("CA", "CB", "CG", "CD")],
    "SER": [("N", "CA", "CB", "OG")],
    "THR": [("N", "CA", "CB", "OG1")],
    "TRP": [("N", "CA", "CB", "CG"), ("CA", "CB", "CG", "CD1")],
    "TYR": [("N", "CA", "CB", "CG"), ("CA", "CB", "CG", "CD1")],
    "VAL": [("N", "CA", "CB", "CG1")],
}

# The torsion at whose end two like atoms sit opposite each other, counted from 1.
_PERIODIC = {"ASP": 2, "GLU": 3, "PHE": 2, "TYR": 2}


def _chi_tables() -> tuple[np.ndarray, np.ndarray]:
    mask = np.zeros((NUM_RESTYPES, NUM_CHIS))
    atoms = np.zeros((NUM_RESTYPES, NUM_CHIS, 4))
    for restype, three in enumerate(THREE_LETTERS):
        for chi, names in enumerate(CHI_ATOMS[three]):
            mask[restype, chi] = 1.0
            atoms[restype, chi] = [ATOM37_INDEX[name] for name in names]
    return mask, atoms


def _pi_periodic() -> np.ndarray:
    periodic = np.zeros((NUM_RESTYPES, NUM_CHIS))
    for three, chi in _PERIODIC.items():
        periodic[RESTYPE_INDEX[THREE_TO_ONE[three]], chi - 1] = 1.0
    return periodic


_mask, _atoms = _chi_tables()
CHI_MASK = frozen(_mask, np.float32)
CHI_ATOM37 = frozen(_atoms, np.int64)
CHI_PI_PERIODIC = frozen(_pi_periodic(), np.float32)
