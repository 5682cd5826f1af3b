"""The eight rigid groups of a residue: their atoms, and how each hangs on the one before it.

The groups are backbone, pre-omega, phi, psi, χ1, χ2, χ3, χ4 (AlphaFold 2, Supplement 1.8.1 and
1.8.4, Algorithm 24). Phi, psi and χ1 hang on the backbone, χ2 to χ4 on the group before.
"""

from __future__ import annotations

import numpy as np

from sci_memeff.chemistry.atoms import ATOM37_INDEX, RESTYPE_ATOM14
from sci_memeff.chemistry.frozen import frozen
from sci_memeff.chemistry.ideal_positions import (
    BACKBONE,
    CHI1,
    IDEAL_POSITIONS,
    NUM_GROUPS,
    PHI,
    PRE_OMEGA,
    PSI,
)
from sci_memeff.chemistry.residues import NUM_RESTYPES, THREE_LETTERS
from sci_memeff.chemistry.torsions import CHI_ATOM37, CHI_ATOMS, CHI_MASK

__all__ = [
    "ATOM14_GROUP",
    "ATOM14_POSITIONS",
    "DEFAULT_FRAMES",
    "GROUP_ATOM37",
    "GROUP_EXISTS",
    "frame_matrix",
]


def frame_matrix(x_axis: np.ndarray, xy_plane: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """The 4×4 frame at `origin` with x along `x_axis` and `xy_plane` in its upper half-plane."""
    x = x_axis / np.linalg.norm(x_axis)
    y = xy_plane - np.dot(xy_plane, x) * x
    y /= np.linalg.norm(y)
    frame = np.eye(4)
    frame[:3] = np.stack([x, y, np.cross(x, y), origin], axis=1)
    return frame


def _default_frames(three: str) -> np.ndarray:
    """Frames of one residue's groups, all torsions zero, each in the frame it hangs on."""
    at = {name: np.array(row[1:]) for name, row in IDEAL_POSITIONS[three].items()}
    frames = np.zeros((NUM_GROUPS, 4, 4))
    frames[BACKBONE] = frames[PRE_OMEGA] = np.eye(4)
    frames[PHI] = frame_matrix(at["N"] - at["CA"], np.array([1.0, 0.0, 0.0]), at["N"])
    frames[PSI] = frame_matrix(at["C"] - at["CA"], at["CA"] - at["N"], at["C"])
    for chi, (before, start, end, _) in enumerate(CHI_ATOMS[three]):
        if chi == 0:
            frame = frame_matrix(at[end] - at[start], at[before] - at[start], at[end])
        else:
            # The axis starts at the origin of the group before, whose own axis came along −x.
            frame = frame_matrix(at[end], np.array([-1.0, 0.0, 0.0]), at[end])
        frames[CHI1 + chi] = frame
    return frames


def _atom14_tables() -> tuple[np.ndarray, np.ndarray]:
    group = np.zeros((NUM_RESTYPES, 14))
    positions = np.zeros((NUM_RESTYPES, 14, 3))
    for restype, three in enumerate(THREE_LETTERS):
        for name, (number, *xyz) in IDEAL_POSITIONS[three].items():
            column = RESTYPE_ATOM14[restype].index(name)
            group[restype, column] = number
            positions[restype, column] = xyz
    return group, positions


def _group_tables() -> tuple[np.ndarray, np.ndarray]:
    atoms = np.zeros((NUM_RESTYPES, NUM_GROUPS, 3))
    exists = np.zeros((NUM_RESTYPES, NUM_GROUPS))
    atoms[:, BACKBONE] = [ATOM37_INDEX[name] for name in ("C", "CA", "N")]
    atoms[:, PSI] = [ATOM37_INDEX[name] for name in ("CA", "C", "O")]
    atoms[:, CHI1:] = CHI_ATOM37[:, :, 1:]
    exists[:, [BACKBONE, PSI]] = 1.0
    exists[:, CHI1:] = CHI_MASK
    return atoms, exists


_group, _positions = _atom14_tables()
ATOM14_GROUP = frozen(_group, np.int64)
"""(21, 14): the group that carries each atom."""
ATOM14_POSITIONS = frozen(_positions, np.float32)
"""(21, 14, 3): where it sits in that group's frame, Å."""

_frames = np.zeros((NUM_RESTYPES, NUM_GROUPS, 4, 4))
_frames[: len(THREE_LETTERS)] = [_default_frames(three) for three in THREE_LETTERS]
DEFAULT_FRAMES = frozen(_frames, np.float32)
"""(21, 8, 4, 4): each group in the frame it hangs on; all zero where there is no such group."""

_atoms, _exists = _group_tables()
GROUP_ATOM37 = frozen(_atoms, np.int64)
"""(21, 8, 3): atoms (before, origin, plane) that fix each group's frame in a real structure.

x points from the first to the second, where the origin is; the third lies in the xy half-plane of
positive y. For the backbone that is (C, Cα, N), whose x and z then point the wrong way: turn the
frame by π about y. Zeros (atom N) where the group has no heavy atom.
"""
GROUP_EXISTS = frozen(_exists, np.float32)
"""(21, 8): groups with a frame of their own; the unknown residue has backbone and psi."""
