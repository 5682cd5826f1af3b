"""Between the packed layout of 14 atoms and the one with a column per atom name."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from sci_memeff.alphafold.geometry.tables import look_up
from sci_memeff.chemistry import ATOM37_INDEX, ATOM37_MASK, ATOM37_TO_ATOM14, RESTYPE_INDEX

__all__ = ["atom14_to_atom37", "pseudo_beta"]


def atom14_to_atom37(
    atom14: Shaped[Tensor, "*packed"], aatype: Int[Tensor, "*b"]
) -> Shaped[Tensor, "*spread"]:
    """(*b, 14, ...) to (*b, 37, ...), positions or masks; zero where no atom is."""
    extra = (1,) * (atom14.ndim - aatype.ndim - 1)
    index = look_up(ATOM37_TO_ATOM14, aatype)
    mask = look_up(ATOM37_MASK, aatype, like=atom14)
    shape = (*index.shape, *atom14.shape[aatype.ndim + 1 :])
    spread = atom14.gather(aatype.ndim, index.reshape(*index.shape, *extra).expand(shape))
    return spread * mask.reshape(*mask.shape, *extra)


def pseudo_beta(
    aatype: Int[Tensor, "*b n"], positions: Float[Tensor, "*b n 37 3"]
) -> Float[Tensor, "*b n 3"]:
    """Cβ of each residue, or Cα of glycine, which has none (Algorithm 32)."""
    glycine = (aatype == RESTYPE_INDEX["G"])[..., None]
    ca, cb = positions[..., ATOM37_INDEX["CA"], :], positions[..., ATOM37_INDEX["CB"], :]
    return torch.where(glycine, ca, cb)
