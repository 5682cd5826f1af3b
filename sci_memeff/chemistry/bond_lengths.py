"""Bond lengths within a residue, Å: mean and standard deviation (Engh & Huber, 2001).

Means over small-molecule crystal structures, as AlphaFold 2 uses them in its violation loss
(Supplement 1.9.11).
"""

from __future__ import annotations

from typing import NamedTuple

from sci_memeff.chemistry.residues import THREE_LETTERS

__all__ = ["RESIDUE_BONDS", "Bond"]


class Bond(NamedTuple):
    """Two atoms of one residue and the distance between them, Å."""

    first: str
    second: str
    length: float
    stddev: float


_BACKBONE = {"N-CA": (1.459, 0.020), "CA-C": (1.525, 0.026), "C-O": (1.229, 0.019)}
_GLYCINE = {"N-CA": (1.456, 0.015), "CA-C": (1.514, 0.016), "C-O": (1.232, 0.016)}
_PROLINE = {"N-CA": (1.468, 0.017), "CA-C": (1.524, 0.020), "C-O": (1.228, 0.020)}

_SIDE_CHAINS: dict[str, dict[str, tuple[float, float]]] = {
    "ALA": {
        "CA-CB": (1.520, 0.021),
    },
    "ARG": {
        "CA-CB": (1.535, 0.022),
        "CB-CG": (1.521, 0.027),
        "CG-CD": (1.515, 0.025),
        "CD-NE": (1.460, 0.017),
        "NE-CZ": (1.326, 0.013),
        "CZ-NH1": (1.326, 0.013),
        "CZ-NH2": (1.326, 0.013),
    },
    "ASN": {
        "CA-CB": (1.527, 0.026),
        "CB-CG": (1.506, 0.023),
        "CG-OD1": (1.235, 0.022),
        "CG-ND2": (1.324, 0.025),
    },
    "ASP": {
        "CA-CB": (1.535, 0.022),
        "CB-CG": (1.513, 0.021),
        "CG-OD1": (1.249, 0.023),
        "CG-OD2": (1.249, 0.023),
    },
    "CYS": {
        "CA-CB": (1.526, 0.013),
        "CB-SG": (1.812, 0.016),
    },
    "GLN": {
        "CA-CB": (1.535, 0.022),
        "CB-CG": (1.521, 0.027),
        "CG-CD": (1.506, 0.023),
        "CD-OE1": (1.235, 0.022),
        "CD-NE2": (1.324, 0.025),
    },
    "GLU": {
        "CA-CB": (1.535, 0.022),
        "CB-CG": (1.517, 0.019),
        "CG-CD": (1.515, 0.015),
        "CD-OE1": (1.252, 0.011),
        "CD-OE2": (1.252, 0.011),
    },
    "HIS": {
        "CA-CB": (1.535, 0.022),
        "CB-CG": (1.492, 0.016),
        "CG-ND1": (1.369, 0.015),
        "CG-CD2": (1.353, 0.017),
        "ND1-CE1": (1.343, 0.025),
        "CD2-NE2": (1.415, 0.021),
        "CE1-NE2": (1.322, 0.023),
    },
    "ILE": {
        "CA-CB": (1.544, 0.023),
        "CB-CG1": (1.536, 0.028),
        "CB-CG2": (1.524, 0.031),
        "CG1-CD1": (1.500, 0.069),
    },
    "LEU": {
        "CA-CB": (1.533, 0.023),
        "CB-CG": (1.521, 0.029),
        "CG-CD1": (1.514, 0.037),
        "CG-CD2": (1.514, 0.037),
    },
    "LYS": {
        "CA-CB": (1.535, 0.022),
        "CB-CG": (1.521, 0.027),
        "CG-CD": (1.520, 0.034),
        "CD-CE": (1.508, 0.025),
        "CE-NZ": (1.486, 0.025),
    },
    "MET": {
        "CA-CB": (1.535, 0.022),
        "CB-CG": (1.509, 0.032),
        "CG-SD": (1.807, 0.026),
        "SD-CE": (1.774, 0.056),
    },
    "PHE": {
        "CA-CB": (1.535, 0.022),
        "CB-CG": (1.509, 0.017),
        "CG-CD1": (1.383, 0.015),
        "CG-CD2": (1.383, 0.015),
        "CD1-CE1": (1.388, 0.020),
        "CD2-CE2": (1.388, 0.020),
        "CE1-CZ": (1.369, 0.019),
        "CE2-CZ": (1.369, 0.019),
    },
    "PRO": {
        "CA-CB": (1.531, 0.020),
        "CB-CG": (1.495, 0.050),
        "CG-CD": (1.502, 0.033),
        "CD-N": (1.474, 0.014),
    },
    "SER": {
        "CA-CB": (1.525, 0.015),
        "CB-OG": (1.418, 0.013),
    },
    "THR": {
        "CA-CB": (1.529, 0.026),
        "CB-OG1": (1.428, 0.020),
        "CB-CG2": (1.519, 0.033),
    },
    "TRP": {
        "CA-CB": (1.535, 0.022),
        "CB-CG": (1.498, 0.018),
        "CG-CD1": (1.363, 0.014),
        "CG-CD2": (1.432, 0.017),
        "CD1-NE1": (1.375, 0.017),
        "NE1-CE2": (1.371, 0.013),
        "CD2-CE2": (1.409, 0.012),
        "CD2-CE3": (1.399, 0.015),
        "CE2-CZ2": (1.393, 0.017),
        "CE3-CZ3": (1.380, 0.017),
        "CZ2-CH2": (1.369, 0.019),
        "CZ3-CH2": (1.396, 0.016),
    },
    "TYR": {
        "CA-CB": (1.535, 0.022),
        "CB-CG": (1.512, 0.015),
        "CG-CD1": (1.387, 0.013),
        "CG-CD2": (1.387, 0.013),
        "CD1-CE1": (1.389, 0.015),
        "CD2-CE2": (1.389, 0.015),
        "CE1-CZ": (1.381, 0.013),
        "CE2-CZ": (1.381, 0.013),
        "CZ-OH": (1.374, 0.017),
    },
    "VAL": {
        "CA-CB": (1.543, 0.021),
        "CB-CG1": (1.524, 0.021),
        "CB-CG2": (1.524, 0.021),
    },
}


def _bonds(three: str) -> tuple[Bond, ...]:
    backbone = {"GLY": _GLYCINE, "PRO": _PROLINE}.get(three, _BACKBONE)
    rows = backbone | _SIDE_CHAINS.get(three, {})
    named = [(name.split("-"), numbers) for name, numbers in rows.items()]
    return tuple(Bond(first, second, *numbers) for (first, second), numbers in named)


RESIDUE_BONDS: dict[str, tuple[Bond, ...]] = {three: _bonds(three) for three in THREE_LETTERS}
