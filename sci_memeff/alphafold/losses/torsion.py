"""The torsion loss: side-chain angles, and lengths of the raw angles (Algorithm 27).

Axes: t iterations of the structure module, i residues, 7 torsions (the last four are χ1 to χ4),
2 for sine and cosine.
"""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor, nn

from sci_memeff._types import Mask, Walk, whole
from sci_memeff.alphafold.geometry import look_up
from sci_memeff.alphafold.losses.binned import EPS
from sci_memeff.chemistry import CHI_PI_PERIODIC, NUM_CHIS

__all__ = ["TorsionLoss"]

COUNT_EPS = 1e-4  # added to the number of angles that are averaged over


class TorsionLoss(nn.Module):
    """Squared χ errors and the distance of raw angles from length 1. Residues are independent.

    Means over all iterations. A χ of a symmetric group may be off by π at no cost. The backbone's
    torsions are left to FAPE, as in AlphaFold 2's code.
    """

    walk: Walk

    def __init__(self, chi_share: float = 0.5, angle_norm_share: float = 0.01) -> None:
        super().__init__()
        self.chi_share = chi_share
        self.angle_norm_share = angle_norm_share
        self.walk = whole

    def forward(
        self,
        angles: Float[Tensor, "t *b i 7 2"],
        raw_angles: Float[Tensor, "t *b i 7 2"],
        true_chi: Float[Tensor, "*b i 4 2"],
        chi_mask: Mask[Tensor, "*b i 4"],
        aatype: Int[Tensor, "*b i"],
        seq_mask: Mask[Tensor, "*b i"],
    ) -> Float[Tensor, "*b"]:
        """The loss of each sample; `raw_angles` are the angles before they were normalised."""
        chi_sums, norm_sums = self.walk(
            self.rows,
            rows=(angles, raw_angles, true_chi, chi_mask, aatype, seq_mask),
            in_dims=(-3, -3, -3, -2, -1, -1),
            out_dims=(-1, -1),
        )
        num_iterations, num_torsions = angles.shape[0], angles.shape[-2]
        num_chis = num_iterations * chi_mask.sum((-1, -2))
        num_angles = num_iterations * num_torsions * seq_mask.sum(-1)
        chi = chi_sums.sum((0, -1)) / (COUNT_EPS + num_chis)
        norm = norm_sums.sum((0, -1)) / (COUNT_EPS + num_angles)
        return self.chi_share * chi + self.angle_norm_share * norm

    def rows(
        self,
        angles: Float[Tensor, "t *b i 7 2"],
        raw_angles: Float[Tensor, "t *b i 7 2"],
        true_chi: Float[Tensor, "*b i 4 2"],
        chi_mask: Mask[Tensor, "*b i 4"],
        aatype: Int[Tensor, "*b i"],
        seq_mask: Mask[Tensor, "*b i"],
    ) -> tuple[Float[Tensor, "t *b i"], Float[Tensor, "t *b i"]]:
        """The summed errors of χ and of the lengths, of some residues."""
        chi = angles[..., -NUM_CHIS:, :]
        turned = (1.0 - 2.0 * look_up(CHI_PI_PERIODIC, aatype, chi))[..., None] * true_chi
        error = (true_chi - chi).square().sum(-1).minimum((turned - chi).square().sum(-1))
        length = (raw_angles.square().sum(-1) + EPS).sqrt()
        return (error * chi_mask).sum(-1), (length - 1.0).abs().sum(-1) * seq_mask
