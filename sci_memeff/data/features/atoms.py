"""A residue's atoms in the two layouts, with the other naming of ambiguous ones.

AlphaFold 2, Supplement 1.2.1 and 1.8.5. Positions in Å; masks are float32 zeros and ones. Leading
axes `*b` are residues, or templates and residues.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Int64

from sci_memeff.chemistry import (
    ATOM14_AMBIGUOUS,
    ATOM14_MASK,
    ATOM14_SWAP,
    ATOM14_TO_ATOM37,
    ATOM37_INDEX,
    ATOM37_MASK,
    ATOM37_TO_ATOM14,
    RESTYPE_INDEX,
)

__all__ = ["atom14_positions", "atom_layout", "pseudo_beta"]

_CA = ATOM37_INDEX["CA"]
_CB = ATOM37_INDEX["CB"]


def atom_layout(aatype: Int64[np.ndarray, " n"]) -> dict[str, np.ndarray]:
    """Which atoms each residue type has, in both layouts, and the way between the two."""
    return {
        "atom14_atom_exists": ATOM14_MASK[aatype],
        "atom37_atom_exists": ATOM37_MASK[aatype],
        "residx_atom14_to_atom37": ATOM14_TO_ATOM37[aatype],
        "residx_atom37_to_atom14": ATOM37_TO_ATOM14[aatype],
    }


def atom14_positions(
    aatype: Int64[np.ndarray, " n"],
    positions: Float32[np.ndarray, "n 37 3"],
    mask: Float32[np.ndarray, "n 37"],
) -> dict[str, np.ndarray]:
    """The known atoms packed into 14 columns, as named and under the other naming."""
    columns = ATOM14_TO_ATOM37[aatype]
    exists = ATOM14_MASK[aatype] * np.take_along_axis(mask, columns, axis=1)
    packed = np.take_along_axis(positions, columns[..., None], axis=1) * exists[..., None]
    swap = ATOM14_SWAP[aatype]
    return {
        "atom14_gt_positions": packed,
        "atom14_gt_exists": exists,
        "atom14_alt_gt_positions": np.take_along_axis(packed, swap[..., None], axis=1),
        "atom14_alt_gt_exists": np.take_along_axis(exists, swap, axis=1),
        "atom14_atom_is_ambiguous": ATOM14_AMBIGUOUS[aatype],
    }


def pseudo_beta(
    aatype: Int64[np.ndarray, "*b"],
    positions: Float32[np.ndarray, "*b 37 3"],
    mask: Float32[np.ndarray, "*b 37"],
) -> tuple[Float32[np.ndarray, "*b 3"], Float32[np.ndarray, "*b"]]:
    """Where each residue is: Cβ, or Cα for glycine; and whether that atom is known."""
    is_glycine = aatype == RESTYPE_INDEX["G"]
    where = np.where(is_glycine[..., None], positions[..., _CA, :], positions[..., _CB, :])
    return where, np.where(is_glycine, mask[..., _CA], mask[..., _CB])
