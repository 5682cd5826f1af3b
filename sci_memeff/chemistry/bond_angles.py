"""Bond angles within a residue: mean and standard deviation (Engh & Huber, 2001).

Written in degrees, as published; `RESIDUE_ANGLES` holds radians.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from sci_memeff.chemistry.residues import THREE_LETTERS

__all__ = ["RESIDUE_ANGLES", "Angle"]


class Angle(NamedTuple):
    """Three atoms of one residue and the angle at the middle one, radians."""

    first: str
    middle: str
    last: str
    angle: float
    stddev: float


_BACKBONE = {"N-CA-C": (111.0, 2.7), "CA-C-O": (120.1, 2.1)}
_GLYCINE = {"N-CA-C": (113.1, 2.5), "CA-C-O": (120.6, 1.8)}
_PROLINE = {"N-CA-C": (112.1, 2.6), "CA-C-O": (120.2, 2.4)}

_SIDE_CHAINS: dict[str, dict[str, tuple[float, float]]] = {
    "ALA": {
        "N-CA-CB": (110.1, 1.4),
        "CB-CA-C": (110.1, 1.5),
    },
    "ARG": {
        "N-CA-CB": (110.6, 1.8),
        "CB-CA-C": (110.4, 2.0),
        "CA-CB-CG": (113.4, 2.2),
        "CB-CG-CD": (111.6, 2.6),
        "CG-CD-NE": (111.8, 2.1),
        "CD-NE-CZ": (123.6, 1.4),
        "NE-CZ-NH1": (120.3, 0.5),
        "NE-CZ-NH2": (120.3, 0.5),
        "NH1-CZ-NH2": (119.4, 1.1),
    },
    "ASN": {
        "N-CA-CB": (110.6, 1.8),
        "CB-CA-C": (110.4, 2.0),
        "CA-CB-CG": (113.4, 2.2),
        "CB-CG-ND2": (116.7, 2.4),
        "CB-CG-OD1": (121.6, 2.0),
        "ND2-CG-OD1": (121.9, 2.3),
    },
    "ASP": {
        "N-CA-CB": (110.6, 1.8),
        "CB-CA-C": (110.4, 2.0),
        "CA-CB-CG": (113.4, 2.2),
        "CB-CG-OD1": (118.3, 0.9),
        "CB-CG-OD2": (118.3, 0.9),
        "OD1-CG-OD2": (123.3, 1.9),
    },
    "CYS": {
        "N-CA-CB": (110.8, 1.5),
        "CB-CA-C": (111.5, 1.2),
        "CA-CB-SG": (114.2, 1.1),
    },
    "GLN": {
        "N-CA-CB": (110.6, 1.8),
        "CB-CA-C": (110.4, 2.0),
        "CA-CB-CG": (113.4, 2.2),
        "CB-CG-CD": (111.6, 2.6),
        "CG-CD-OE1": (121.6, 2.0),
        "CG-CD-NE2": (116.7, 2.4),
        "OE1-CD-NE2": (121.9, 2.3),
    },
    "GLU": {
        "N-CA-CB": (110.6, 1.8),
        "CB-CA-C": (110.4, 2.0),
        "CA-CB-CG": (113.4, 2.2),
        "CB-CG-CD": (114.2, 2.7),
        "CG-CD-OE1": (118.3, 2.0),
        "CG-CD-OE2": (118.3, 2.0),
        "OE1-CD-OE2": (123.3, 1.2),
    },
    "HIS": {
        "N-CA-CB": (110.6, 1.8),
        "CB-CA-C": (110.4, 2.0),
        "CA-CB-CG": (113.6, 1.7),
        "CB-CG-ND1": (123.2, 2.5),
        "CB-CG-CD2": (130.8, 3.1),
        "CG-ND1-CE1": (108.2, 1.4),
        "ND1-CE1-NE2": (109.9, 2.2),
        "CE1-NE2-CD2": (106.6, 2.5),
        "NE2-CD2-CG": (109.2, 1.9),
        "CD2-CG-ND1": (106.0, 1.4),
    },
    "ILE": {
        "N-CA-CB": (110.8, 2.3),
        "CB-CA-C": (111.6, 2.0),
        "CA-CB-CG1": (111.0, 1.9),
        "CB-CG1-CD1": (113.9, 2.8),
        "CA-CB-CG2": (110.9, 2.0),
        "CG1-CB-CG2": (111.4, 2.2),
    },
    "LEU": {
        "N-CA-CB": (110.4, 2.0),
        "CB-CA-C": (110.2, 1.9),
        "CA-CB-CG": (115.3, 2.3),
        "CB-CG-CD1": (111.0, 1.7),
        "CB-CG-CD2": (111.0, 1.7),
        "CD1-CG-CD2": (110.5, 3.0),
    },
    "LYS": {
        "N-CA-CB": (110.6, 1.8),
        "CB-CA-C": (110.4, 2.0),
        "CA-CB-CG": (113.4, 2.2),
        "CB-CG-CD": (111.6, 2.6),
        "CG-CD-CE": (111.9, 3.0),
        "CD-CE-NZ": (111.7, 2.3),
    },
    "MET": {
        "N-CA-CB": (110.6, 1.8),
        "CB-CA-C": (110.4, 2.0),
        "CA-CB-CG": (113.3, 1.7),
        "CB-CG-SD": (112.4, 3.0),
        "CG-SD-CE": (100.2, 1.6),
    },
    "PHE": {
        "N-CA-CB": (110.6, 1.8),
        "CB-CA-C": (110.4, 2.0),
        "CA-CB-CG": (113.9, 2.4),
        "CB-CG-CD1": (120.8, 0.7),
        "CB-CG-CD2": (120.8, 0.7),
        "CD1-CG-CD2": (118.3, 1.3),
        "CG-CD1-CE1": (120.8, 1.1),
        "CG-CD2-CE2": (120.8, 1.1),
        "CD1-CE1-CZ": (120.1, 1.2),
        "CD2-CE2-CZ": (120.1, 1.2),
        "CE1-CZ-CE2": (120.0, 1.8),
    },
    "PRO": {
        "N-CA-CB": (103.3, 1.2),
        "CB-CA-C": (111.7, 2.1),
        "CA-CB-CG": (104.8, 1.9),
        "CB-CG-CD": (106.5, 3.9),
        "CG-CD-N": (103.2, 1.5),
        "CA-N-CD": (111.7, 1.4),
    },
    "SER": {
        "N-CA-CB": (110.5, 1.5),
        "CB-CA-C": (110.1, 1.9),
        "CA-CB-OG": (111.2, 2.7),
    },
    "THR": {
        "N-CA-CB": (110.3, 1.9),
        "CB-CA-C": (111.6, 2.7),
        "CA-CB-OG1": (109.0, 2.1),
        "CA-CB-CG2": (112.4, 1.4),
        "OG1-CB-CG2": (110.0, 2.3),
    },
    "TRP": {
        "N-CA-CB": (110.6, 1.8),
        "CB-CA-C": (110.4, 2.0),
        "CA-CB-CG": (113.7, 1.9),
        "CB-CG-CD1": (127.0, 1.3),
        "CB-CG-CD2": (126.6, 1.3),
        "CD1-CG-CD2": (106.3, 0.8),
        "CG-CD1-NE1": (110.1, 1.0),
        "CD1-NE1-CE2": (109.0, 0.9),
        "NE1-CE2-CD2": (107.3, 1.0),
        "CE2-CD2-CG": (107.3, 0.8),
        "CG-CD2-CE3": (133.9, 0.9),
        "NE1-CE2-CZ2": (130.4, 1.1),
        "CE3-CD2-CE2": (118.7, 1.2),
        "CD2-CE2-CZ2": (122.3, 1.2),
        "CE2-CZ2-CH2": (117.4, 1.0),
        "CZ2-CH2-CZ3": (121.6, 1.2),
        "CH2-CZ3-CE3": (121.2, 1.1),
        "CZ3-CE3-CD2": (118.8, 1.3),
    },
    "TYR": {
        "N-CA-CB": (110.6, 1.8),
        "CB-CA-C": (110.4, 2.0),
        "CA-CB-CG": (113.4, 1.9),
        "CB-CG-CD1": (121.0, 0.6),
        "CB-CG-CD2": (121.0, 0.6),
        "CD1-CG-CD2": (117.9, 1.1),
        "CG-CD1-CE1": (121.3, 0.8),
        "CG-CD2-CE2": (121.3, 0.8),
        "CD1-CE1-CZ": (119.8, 0.9),
        "CD2-CE2-CZ": (119.8, 0.9),
        "CE1-CZ-CE2": (119.8, 1.6),
        "CE1-CZ-OH": (120.1, 2.7),
        "CE2-CZ-OH": (120.1, 2.7),
    },
    "VAL": {
        "N-CA-CB": (111.5, 2.2),
        "CB-CA-C": (111.4, 1.9),
        "CA-CB-CG1": (110.9, 1.5),
        "CA-CB-CG2": (110.9, 1.5),
        "CG1-CB-CG2": (110.9, 1.6),
    },
}


def _angles(three: str) -> tuple[Angle, ...]:
    backbone = {"GLY": _GLYCINE, "PRO": _PROLINE}.get(three, _BACKBONE)
    rows = backbone | _SIDE_CHAINS.get(three, {})
    named = [(name.split("-"), numbers) for name, numbers in rows.items()]
    return tuple(
        Angle(first, middle, last, mean / 180.0 * math.pi, stddev / 180.0 * math.pi)
        for (first, middle, last), (mean, stddev) in named
    )


RESIDUE_ANGLES: dict[str, tuple[Angle, ...]] = {three: _angles(three) for three in THREE_LETTERS}
