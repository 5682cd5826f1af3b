"""The predicted aligned error's loss (Supplement 1.9.7).

Axes: i residues whose frames are aligned, j residues whose Cα positions are then compared.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from sci_memeff._types import Mask, Walk, whole
from sci_memeff.alphafold.losses.binned import EPS, distance_bins, masked_cross_entropy
from sci_memeff.alphafold.losses.fape import in_frames

__all__ = ["AlignedErrorLoss"]


class AlignedErrorLoss(nn.Module):
    """Cross entropy with the error that the prediction makes at j when i is aligned.

    Rows i are independent. The first break is 0, so only errors of exactly 0 are in the first bin.
    """

    walk: Walk

    def __init__(self, last_break: float = 31.0) -> None:
        super().__init__()
        self.last_break = last_break
        self.walk = whole

    def forward(
        self,
        logits: Float[Tensor, "*b i i bins"],
        frames: Float[Tensor, "*b i 4 4"],
        true_frames: Float[Tensor, "*b i 4 4"],
        mask: Mask[Tensor, "*b i"],
    ) -> Float[Tensor, "*b"]:
        """The loss of each sample. No gradient reaches the backbone `frames`, Å."""
        frames = frames.detach()
        sums = self.walk(
            self.rows,
            rows=(logits, frames, true_frames, mask),
            shared=(frames[..., :3, 3], true_frames[..., :3, 3], mask),
            in_dims=(-3, -3, -3, -1),
            out_dims=-1,
        )
        return sums.sum(-1) / (2 * EPS + mask.sum(-1) ** 2)

    def rows(
        self,
        logits: Float[Tensor, "*b i j bins"],
        frames: Float[Tensor, "*b i 4 4"],
        true_frames: Float[Tensor, "*b i 4 4"],
        mask: Mask[Tensor, "*b i"],
        points: Float[Tensor, "*b j 3"],
        true_points: Float[Tensor, "*b j 3"],
        all_mask: Mask[Tensor, "*b j"],
    ) -> Float[Tensor, "*b i"]:
        """The summed error of some rows i."""
        error = in_frames(frames, points) - in_frames(true_frames, true_points)
        bins = distance_bins(error.square().sum(-1), 0.0, self.last_break, logits.shape[-1])
        pairs = mask[..., :, None] * all_mask[..., None, :]
        return masked_cross_entropy(logits, bins, pairs).sum(-1)
