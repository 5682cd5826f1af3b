"""The loss on which atoms the experiment resolved (Supplement 1.9.10, equation 43).

Axes: i residues, a the 37 atom columns.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from sci_memeff._types import Mask, Walk, whole
from sci_memeff.alphafold.losses.binned import EPS

__all__ = ["ExperimentallyResolvedLoss"]


class ExperimentallyResolvedLoss(nn.Module):
    """Binary cross entropy over the atoms a residue has. Residues are independent."""

    walk: Walk

    def __init__(self) -> None:
        super().__init__()
        self.walk = whole

    def forward(
        self,
        logits: Float[Tensor, "*b i a"],
        resolved: Mask[Tensor, "*b i a"],
        exists: Mask[Tensor, "*b i a"],
    ) -> Float[Tensor, "*b"]:
        """The loss of each sample."""
        sums = self.walk(self.rows, rows=(logits, resolved, exists), in_dims=-2, out_dims=-1)
        return sums.sum(-1) / (EPS + exists.sum((-1, -2)))

    def rows(
        self,
        logits: Float[Tensor, "*b i a"],
        resolved: Mask[Tensor, "*b i a"],
        exists: Mask[Tensor, "*b i a"],
    ) -> Float[Tensor, "*b i"]:
        """The summed error of some residues."""
        dtype = torch.promote_types(logits.dtype, exists.dtype)  # not half precision
        errors = functional.binary_cross_entropy_with_logits(
            logits.to(dtype), resolved.to(dtype), reduction="none"
        )
        return (errors * exists).sum(-1)
