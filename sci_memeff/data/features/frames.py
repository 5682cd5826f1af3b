"""Rigid frames of a known structure (AlphaFold 2, Algorithm 21 and Supplement 1.8.1).

All arithmetic in float64, Å. Where three points do not span a plane (absent atoms are at the
origin), lengths are kept off zero by ε and the rotation comes out as zeros; masks tell.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32, Int64

from sci_memeff.chemistry import BACKBONE, GROUP_AMBIGUOUS, GROUP_ATOM37, GROUP_EXISTS

__all__ = ["frames_from_points", "rigid_group_features", "unit"]

_EPSILON = 1e-8  # Å², under the square root of a squared length
# Its atoms being (C, Cα, N), the backbone's x axis points away from C until turned by π about y.
_BACKBONE_TURN = np.array([-1.0, 1.0, -1.0])
# The other naming turns a side chain's last group by π about its axis, x.
_OTHER_NAMING_TURN = np.array([1.0, -1.0, -1.0])


def frames_from_points(
    before: Float[np.ndarray, "*b 3"],
    origin: Float[np.ndarray, "*b 3"],
    plane: Float[np.ndarray, "*b 3"],
) -> tuple[Float[np.ndarray, "*b 3 3"], Float[np.ndarray, "*b 3"]]:
    """Rotations and origins: x from `before` to `origin`, `plane` at positive y in the xy plane."""
    x = unit(origin - before)
    towards = plane - origin
    y = unit(towards - np.sum(towards * x, axis=-1, keepdims=True) * x)
    return np.stack([x, y, np.cross(x, y)], axis=-1), origin


def rigid_group_features(
    aatype: Int64[np.ndarray, " n"],
    positions: Float32[np.ndarray, "n 37 3"],
    mask: Float32[np.ndarray, "n 37"],
) -> dict[str, np.ndarray]:
    """Frames of the eight groups of each residue as 4×4 matrices, as named and under the other
    naming; which groups the residue type has, which of them the structure shows."""
    atoms = GROUP_ATOM37[aatype].reshape(len(aatype), -1)
    points = np.take_along_axis(positions.astype(np.float64), atoms[..., None], axis=1)
    points = points.reshape(len(aatype), -1, 3, 3)
    rotation, origin = frames_from_points(points[..., 0, :], points[..., 1, :], points[..., 2, :])
    rotation[:, BACKBONE] *= _BACKBONE_TURN
    ambiguous = GROUP_AMBIGUOUS[aatype]
    other = np.where(ambiguous[..., None, None] > 0, rotation * _OTHER_NAMING_TURN, rotation)
    known = np.take_along_axis(mask, atoms, axis=1).reshape(len(aatype), -1, 3).min(axis=-1)
    exists = GROUP_EXISTS[aatype]
    frames = _matrices(rotation, origin)
    return {
        "rigidgroups_gt_frames": frames,
        "rigidgroups_alt_gt_frames": _matrices(other, origin),
        "rigidgroups_gt_exists": known * exists,
        "rigidgroups_group_exists": exists,
        "rigidgroups_group_is_ambiguous": ambiguous,
        "backbone_rigid_tensor": frames[:, BACKBONE],
        "backbone_rigid_mask": (known * exists)[:, BACKBONE],
    }


def unit(vector: Float[np.ndarray, "*b c"]) -> Float[np.ndarray, "*b c"]:
    """The vector at length one; one without a length stays near zero."""
    return vector / np.sqrt(np.sum(vector * vector, axis=-1, keepdims=True) + _EPSILON)


def _matrices(rotation: np.ndarray, origin: np.ndarray) -> Float32[np.ndarray, "*b 4 4"]:
    matrices = np.zeros((*origin.shape[:-1], 4, 4), np.float32)
    matrices[..., :3, :3] = rotation
    matrices[..., :3, 3] = origin
    matrices[..., 3, 3] = 1.0
    return matrices
