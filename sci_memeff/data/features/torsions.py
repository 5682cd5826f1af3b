"""Torsion angles of a known structure (AlphaFold 2, Supplement 1.2.1, Table 2, and 1.8.5).

Seven per residue: ω and φ, with the residue before, ψ, χ1 to χ4; each as (sine, cosine). A
residue's ψ is told by its own oxygen, which lies opposite the next nitrogen, hence the sign.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Int64

from sci_memeff.chemistry import (
    ATOM37_INDEX,
    CHI_ATOM37,
    CHI_MASK,
    CHI_PI_PERIODIC,
    NUM_CHIS,
    UNKNOWN,
)
from sci_memeff.data.features.frames import frames_from_points, unit

__all__ = ["torsion_angles"]

_N, _CA, _C, _O = (ATOM37_INDEX[name] for name in ("N", "CA", "C", "O"))
_PSI = 2


def torsion_angles(
    aatype: Int64[np.ndarray, "*b n"],
    positions: Float32[np.ndarray, "*b n 37 3"],
    mask: Float32[np.ndarray, "*b n 37"],
) -> dict[str, np.ndarray]:
    """`torsion_angles_sin_cos`, the same under the other naming (`alt_`), and their mask.

    Residue types above 20 (gaps of a template) have no χ. Where the mask is zero the numbers mean
    nothing, though the network reads them: they follow from absent atoms being at the origin.
    """
    restype = np.minimum(aatype, UNKNOWN)
    points, known = positions.astype(np.float64), mask > 0
    previous, previous_known = _shifted(points, -3), _shifted(known, -2)
    quadruples = [
        np.concatenate([previous[..., [_CA, _C], :], points[..., [_N, _CA], :]], axis=-2),
        np.concatenate([previous[..., [_C], :], points[..., [_N, _CA, _C], :]], axis=-2),
        points[..., [_N, _CA, _C, _O], :],
    ]
    masks = [
        previous_known[..., [_CA, _C]].all(-1) & known[..., [_N, _CA]].all(-1),
        previous_known[..., _C] & known[..., [_N, _CA, _C]].all(-1),
        known[..., [_N, _CA, _C, _O]].all(-1),
    ]
    chi = CHI_ATOM37[restype]
    flat = chi.reshape(*chi.shape[:-2], NUM_CHIS * 4)
    chi_points = np.take_along_axis(points, flat[..., None], axis=-2).reshape(*chi.shape, 3)
    chi_known = np.take_along_axis(known, flat, axis=-1).reshape(chi.shape).all(-1)
    sin_cos = _sin_cos(np.concatenate([np.stack(quadruples, axis=-3), chi_points], axis=-3))
    sin_cos[..., _PSI, :] *= -1.0
    chi_mask = chi_known * CHI_MASK[restype]
    other = np.ones((*restype.shape, 7))
    other[..., 3:] -= 2.0 * CHI_PI_PERIODIC[restype]
    return {
        "torsion_angles_sin_cos": sin_cos.astype(np.float32),
        "alt_torsion_angles_sin_cos": (sin_cos * other[..., None]).astype(np.float32),
        "torsion_angles_mask": np.concatenate([np.stack(masks, -1), chi_mask], -1).astype(
            np.float32
        ),
    }


def _shifted(values: np.ndarray, axis: int) -> np.ndarray:
    """The values of the residue before, and zeros before the first."""
    shifted = np.roll(values, 1, axis=axis)
    first = (..., 0) + (slice(None),) * (-1 - axis)
    shifted[first] = 0
    return shifted


def _sin_cos(points: np.ndarray) -> np.ndarray:
    """Torsions about the middle bond of four points (…, 4, 3) as (sine, cosine), unit length."""
    first, second, third, fourth = np.moveaxis(points, -2, 0)
    rotation, origin = frames_from_points(second, third, first)
    local = np.einsum("...ji,...j->...i", rotation, fourth - origin)
    return unit(local[..., [2, 1]])
