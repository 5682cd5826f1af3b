"""The masked-MSA loss: which letter was hidden (Supplement 1.9.9, equation 42).

Axes: s sequences, i residues.
"""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor, nn

from sci_memeff._types import Mask, Walk, whole
from sci_memeff.alphafold.losses.binned import EPS, masked_cross_entropy

__all__ = ["MaskedMsaLoss"]


class MaskedMsaLoss(nn.Module):
    """Cross entropy over the hidden letters of the MSA. Sequences are independent."""

    walk: Walk

    def __init__(self) -> None:
        super().__init__()
        self.walk = whole

    def forward(
        self,
        logits: Float[Tensor, "*b s i letters"],
        true_msa: Int[Tensor, "*b s i"],
        hidden: Mask[Tensor, "*b s i"],
    ) -> Float[Tensor, "*b"]:
        """The loss of each sample; `hidden` is 1 where a letter was hidden."""
        rows = (logits, true_msa, hidden)
        sums = self.walk(self.rows, rows=rows, in_dims=(-3, -2, -2), out_dims=-1)
        return sums.sum(-1) / (2 * EPS + hidden.sum((-1, -2)))

    def rows(
        self,
        logits: Float[Tensor, "*b s i letters"],
        true_msa: Int[Tensor, "*b s i"],
        hidden: Mask[Tensor, "*b s i"],
    ) -> Float[Tensor, "*b s"]:
        """The summed error of some sequences."""
        return masked_cross_entropy(logits, true_msa, hidden).sum(-1)
