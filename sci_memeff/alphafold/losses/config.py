"""The numbers of AlphaFold 2's training loss, as a frozen value (Supplement 1.9, equation 7)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sci_memeff.errors import BadConfigError

__all__ = ["LossConfig"]


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Weights and cut-offs of every term; the defaults are those of initial training.

    Lengths in Å, tolerances in standard deviations. A term of weight 0 is not computed. The
    numbers of bins are not set here: they are those of the model's logits.
    """

    # The weights of the terms, named `<term>_weight`.
    fape_weight: float = 1.0
    supervised_chi_weight: float = 1.0
    distogram_weight: float = 0.3
    masked_msa_weight: float = 2.0
    plddt_weight: float = 0.01
    experimentally_resolved_weight: float = 0.0
    violation_weight: float = 0.0
    tm_weight: float = 0.0

    # Shares within a term.
    backbone_share: float = 0.5  # of FAPE, all iterations of the structure module
    sidechain_share: float = 0.5  # of FAPE, the last iteration
    chi_share: float = 0.5  # of the torsion term
    angle_norm_share: float = 0.01  # of the torsion term

    fape_clamp: float = 10.0
    fape_unit: float = 10.0
    distogram_first_break: float = 2.3125
    distogram_last_break: float = 21.6875
    plddt_cutoff: float = 15.0
    aligned_error_last_break: float = 31.0
    bond_tolerance: float = 12.0
    clash_tolerance: float = 1.5
    # Confidence is learned from experimental structures of this resolution only; distillation
    # targets have resolution 0 and are left out.
    min_resolution: float = 0.1
    max_resolution: float = 3.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value >= 0.0:
                raise BadConfigError(f"loss setting {name} is {value}", mend="give 0 or more")
        if not any(self.weights.values()):
            raise BadConfigError("every term of the loss has weight 0", mend="weigh one of them")

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each term, by the term's name."""
        suffix = "_weight"
        fields = vars(self).items()
        return {name.removesuffix(suffix): w for name, w in fields if name.endswith(suffix)}

    @classmethod
    def finetuning(cls) -> LossConfig:
        """The second stage of training, without predicted aligned errors (Table 4)."""
        return cls(violation_weight=1.0, experimentally_resolved_weight=0.01)

    def with_ptm(self) -> LossConfig:
        """The same with the predicted aligned error at AlphaFold 2's weight (1.9.7)."""
        return replace(self, tm_weight=0.1)
