"""The pLDDT loss: how well each residue was placed, in bins (Supplement 1.9.6, Algorithm 29).

Axes: i j residues.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sci_memeff._types import Mask, Walk, whole
from sci_memeff.alphafold.losses.binned import EPS, masked_cross_entropy
from sci_memeff.alphafold.losses.distances import distances
from sci_memeff.alphafold.metrics import LDDT_THRESHOLDS

__all__ = ["PlddtLoss"]


class PlddtLoss(nn.Module):
    """Cross entropy with the lDDT-Cα that the prediction reaches. Residues are independent."""

    walk: Walk

    def __init__(self, cutoff: float = 15.0) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.walk = whole

    def forward(
        self,
        logits: Float[Tensor, "*b i bins"],
        ca: Float[Tensor, "*b i 3"],
        true_ca: Float[Tensor, "*b i 3"],
        mask: Mask[Tensor, "*b i"],
    ) -> Float[Tensor, "*b"]:
        """The loss of each sample. No gradient reaches the positions `ca`: they are the target."""
        index = torch.arange(mask.shape[-1], device=mask.device)
        points = (ca.detach(), true_ca, mask, index)
        errors = self.walk(
            self.rows,
            rows=(logits, *points),
            shared=points,
            in_dims=(-2, -2, -2, -1, -1),
            out_dims=-1,
        )
        return errors.sum(-1) / (EPS + mask.sum(-1))

    def rows(
        self,
        logits: Tensor,
        ca: Tensor,
        true_ca: Tensor,
        mask: Tensor,
        index: Tensor,
        *rest: Tensor,
    ) -> Float[Tensor, "*b i"]:
        """The error of some residues i, given the same four of `rest`, all residues j."""
        num_bins = logits.shape[-1]
        lddt = self._lddt((ca, true_ca, mask, index), rest)
        bins = (lddt * num_bins).floor().long().clamp(max=num_bins - 1)
        return masked_cross_entropy(logits, bins, mask)

    def _lddt(self, some: tuple[Tensor, ...], rest: tuple[Tensor, ...]) -> Float[Tensor, "*b i"]:
        """The share, in 0..1, of distances below the cut-off that are kept; 1 if there are none."""
        distance, true_distance = (distances(some[k], rest[k], EPS) for k in (0, 1))
        others = some[3][:, None] != rest[3]
        scored = (true_distance < self.cutoff) * others
        scored = scored * some[2][..., :, None] * rest[2][..., None, :]
        change = (true_distance - distance).abs()
        kept = torch.stack([change < threshold for threshold in LDDT_THRESHOLDS]).to(change).mean(0)
        # A product with the reciprocal, as in AlphaFold 2: shares on a bin's edge fall alike.
        return 1.0 / (EPS + scored.sum(-1)) * (EPS + (scored * kept).sum(-1))
