"""The distogram loss: distances between β-carbons, in bins (Supplement 1.9.8, equation 41).

Axes: i j residues.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from sci_memeff._types import Mask, Walk, whole
from sci_memeff.alphafold.losses.binned import EPS, distance_bins, masked_cross_entropy

__all__ = ["DistogramLoss"]


class DistogramLoss(nn.Module):
    """Cross entropy over pairs of residues with a known β-carbon. Rows i are independent."""

    walk: Walk

    def __init__(self, first_break: float = 2.3125, last_break: float = 21.6875) -> None:
        super().__init__()
        self.first_break = first_break
        self.last_break = last_break
        self.walk = whole

    def forward(
        self,
        logits: Float[Tensor, "*b i i bins"],
        beta: Float[Tensor, "*b i 3"],
        mask: Mask[Tensor, "*b i"],
    ) -> Float[Tensor, "*b"]:
        """The loss of each sample, given where the (pseudo) β-carbons are, Å."""
        rows, shared = (logits, beta, mask), (beta, mask)
        sums = self.walk(self.rows, rows=rows, shared=shared, in_dims=(-3, -2, -1), out_dims=-1)
        return sums.sum(-1) / (EPS + mask.sum(-1) ** 2)

    def rows(
        self,
        logits: Float[Tensor, "*b i j bins"],
        beta: Float[Tensor, "*b i 3"],
        mask: Mask[Tensor, "*b i"],
        all_beta: Float[Tensor, "*b j 3"],
        all_mask: Mask[Tensor, "*b j"],
    ) -> Float[Tensor, "*b i"]:
        """The summed error of some rows i."""
        squared = (beta[..., :, None, :] - all_beta[..., None, :, :]).square().sum(-1)
        bins = distance_bins(squared, self.first_break, self.last_break, logits.shape[-1])
        pairs = mask[..., :, None] * all_mask[..., None, :]
        return masked_cross_entropy(logits, bins, pairs).sum(-1)
