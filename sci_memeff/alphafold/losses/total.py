"""AlphaFold 2's training loss, the weighted sum of its terms (Supplement 1.9, equation 7)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import add
from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor, nn

from sci_memeff.alphafold.losses.aligned_error import AlignedErrorLoss
from sci_memeff.alphafold.losses.config import LossConfig
from sci_memeff.alphafold.losses.distogram import DistogramLoss
from sci_memeff.alphafold.losses.fape import (
    FrameAlignedPointError,
    backbone_fape,
    sidechain_fape,
)
from sci_memeff.alphafold.losses.masked_msa import MaskedMsaLoss
from sci_memeff.alphafold.losses.plddt import PlddtLoss
from sci_memeff.alphafold.losses.renaming import SymmetricRenaming
from sci_memeff.alphafold.losses.resolved import ExperimentallyResolvedLoss
from sci_memeff.alphafold.losses.torsion import TorsionLoss
from sci_memeff.alphafold.losses.violation import ViolationLoss
from sci_memeff.chemistry import ATOM37_INDEX
from sci_memeff.errors import BadConfigError, BadDataError

__all__ = ["AlphaFoldLoss"]

CA = ATOM37_INDEX["CA"]


class AlphaFoldLoss(nn.Module):
    """The loss of a batch of predictions, and what each term of it is.

    Each sample's loss is its weighted sum times the root of its length, at most the crop's; the
    batch's is their mean. The sums are OpenFold v2's, but for three things: samples of a batch do
    not share denominators, lengths or periodicities; a NaN stays one; and the angle CA-C-N is
    judged by its own standard deviation (see ViolationLoss).
    """

    def __init__(self, config: LossConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or LossConfig()
        self.renaming = SymmetricRenaming()
        self.backbone_error = FrameAlignedPointError(config.fape_clamp, config.fape_unit)
        self.sidechain_error = FrameAlignedPointError(config.fape_clamp, config.fape_unit)
        self.torsion = TorsionLoss(config.chi_share, config.angle_norm_share)
        self.distogram = DistogramLoss(config.distogram_first_break, config.distogram_last_break)
        self.masked_msa = MaskedMsaLoss()
        self.plddt = PlddtLoss(config.plddt_cutoff)
        self.experimentally_resolved = ExperimentallyResolvedLoss()
        self.violation = ViolationLoss(config.bond_tolerance, config.clash_tolerance)
        self.aligned_error = AlignedErrorLoss(config.aligned_error_last_break)

    def forward(
        self, out: Mapping[str, Any], batch: Mapping[str, Tensor]
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """The loss, and its terms without weights, means over the batch and without gradient.

        `out` is what AlphaFold returned and `batch` the features of the last pass, without the
        recycling dimension; OpenFold v2's features serve as well. Terms of weight 0 are neither
        computed nor returned. BadDataError where a feature that a term reads is missing.
        """
        weights = {name: weight for name, weight in self.config.weights.items() if weight}
        if "tm" in weights and "tm_logits" not in out:
            raise BadConfigError(
                f"the loss weighs aligned errors by {self.config.tm_weight}, but the model "
                "predicts none",
                mend="set tm_weight=0, or give the model its head with ptm=True",
            )
        try:
            terms = {name: getattr(self, f"_{name}")(out, batch) for name in weights}
            length = batch["seq_length"].clamp(max=batch["aatype"].shape[-1])
        except KeyError as error:
            raise BadDataError(
                f"the loss reads {error.args[0]}, and the batch has no such feature",
                source="features",
                mend="give it the features of a known structure, of the last pass: "
                "sci_memeff.make_batch's, or those of OpenFold's pipeline with supervised=True",
            ) from error
        total = reduce(add, (weights[name] * term for name, term in terms.items()))
        total = total * length.to(total.dtype).sqrt()
        return total.mean(), {name: term.detach().mean() for name, term in terms.items()}

    def _fape(self, out: Mapping[str, Any], batch: Mapping[str, Tensor]) -> Float[Tensor, "*b"]:
        structure, config = out["sm"], self.config
        truth = self.renaming(structure["positions"], batch)
        sidechain = sidechain_fape(
            self.sidechain_error,
            structure["sidechain_frames"],
            structure["positions"],
            batch["rigidgroups_gt_exists"],
            truth,
        )
        backbone = backbone_fape(self.backbone_error, structure["frames"], batch)
        return config.backbone_share * backbone + config.sidechain_share * sidechain

    def _supervised_chi(self, out: Mapping[str, Any], batch: Mapping[str, Tensor]) -> Tensor:
        truth = (batch[name] for name in ("chi_angles_sin_cos", "chi_mask", "aatype", "seq_mask"))
        return self.torsion(out["sm"]["angles"], out["sm"]["unnormalized_angles"], *truth)

    def _distogram(self, out: Mapping[str, Any], batch: Mapping[str, Tensor]) -> Tensor:
        return self.distogram(
            out["distogram_logits"], batch["pseudo_beta"], batch["pseudo_beta_mask"]
        )

    def _masked_msa(self, out: Mapping[str, Any], batch: Mapping[str, Tensor]) -> Tensor:
        return self.masked_msa(out["masked_msa_logits"], batch["true_msa"], batch["bert_mask"])

    def _plddt(self, out: Mapping[str, Any], batch: Mapping[str, Tensor]) -> Tensor:
        loss = self.plddt(
            out["lddt_logits"],
            out["final_atom_positions"][..., CA, :],
            batch["all_atom_positions"][..., CA, :],
            batch["all_atom_mask"][..., CA],
        )
        return loss * self._is_well_resolved(batch)

    def _experimentally_resolved(
        self, out: Mapping[str, Any], batch: Mapping[str, Tensor]
    ) -> Tensor:
        loss = self.experimentally_resolved(
            out["experimentally_resolved_logits"],
            batch["all_atom_mask"],
            batch["atom37_atom_exists"],
        )
        return loss * self._is_well_resolved(batch)

    def _violation(self, out: Mapping[str, Any], batch: Mapping[str, Tensor]) -> Tensor:
        return self.violation(out["sm"]["positions"], batch)

    def _tm(self, out: Mapping[str, Any], batch: Mapping[str, Tensor]) -> Tensor:
        truth = batch["backbone_rigid_tensor"], batch["backbone_rigid_mask"]
        loss = self.aligned_error(out["tm_logits"], out["sm"]["frames"][-1], *truth)
        return loss * self._is_well_resolved(batch)

    def _is_well_resolved(self, batch: Mapping[str, Tensor]) -> Bool[Tensor, "*b"]:
        resolution = batch["resolution"]
        return (resolution >= self.config.min_resolution) & (
            resolution <= self.config.max_resolution
        )
