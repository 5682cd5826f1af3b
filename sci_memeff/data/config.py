"""What the feature pipeline is told: sizes, probabilities, filters. Defaults are AlphaFold 2's.

Supplement 1.2 (data), 1.3 (self-distillation), 1.11 and Table 4 (initial training).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from sci_memeff.errors import BadConfigError

__all__ = ["DataConfig"]


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Everything about the data that a run may choose; a BadConfigError names what cannot be."""

    crop_size: int = 256
    """Residues of a training example; shorter chains are taken whole."""
    max_msa_clusters: int = 128
    max_extra_msa: int = 1024
    max_templates: int = 4
    """Templates of an example, 0 for a model without any."""
    max_template_hits: int = 20
    """Best usable hits that training samples its templates from."""
    reduce_clusters_by_templates: bool = False
    """Leave room for template rows: max_msa_clusters − max_templates clusters (models 1 and 2)."""
    max_recycling: int = 3
    """Training draws 1 to max_recycling + 1 passes, evaluation always makes them all."""
    fixed_size: bool = False
    """Pad to crop_size, max_msa_clusters, max_extra_msa and max_templates (batches above one)."""

    validation_size: int | None = None
    """Residues of a validation example, the first of its chain; None: crop_size."""
    max_validation: int = 64
    """Chains to validate with, at most."""

    masked_msa_fraction: float = 0.15
    mask_profile: float = 0.1
    """Share of masked letters drawn from the column's profile; likewise the next two."""
    mask_same: float = 0.1
    mask_uniform: float = 0.1
    deletion_blocks: int = 5
    """Blocks of rows that training deletes (Algorithm 1)."""
    deletion_block_fraction: float = 0.3
    """Rows of one block, as a fraction of all."""

    clamp_probability: float = 0.9
    """Examples whose backbone FAPE is clamped; the others prefer crops near the N terminus."""
    distillation_probability: float = 0.75
    """Examples from predicted structures, where there are any."""
    distillation_plddt: float = 50.0
    """Residues of predicted structures below this pLDDT carry no atoms."""
    max_distillation_msa: int = 1000
    """Rows that an example of the distillation set keeps."""

    max_resolution: float = 9.0
    """Å; worse structures are dropped, those without a resolution (NMR) kept."""
    max_single_residue_fraction: float = 0.8
    min_length: int = 1
    max_length: int | None = None
    max_release_date: date | None = None
    """Later entries are not trained on."""
    max_template_date: date | None = None
    """Later entries are no templates. Whatever this is, the query's own date less 60 days holds."""

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise BadConfigError(f"{name} is {value}", mend=f"give at least {least}")
        for name in _FRACTIONS:
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise BadConfigError(f"{name} is {value}", mend="give a number from 0 to 1")
        if self.mask_profile + self.mask_same + self.mask_uniform > 1.0:
            raise BadConfigError(
                "mask_profile + mask_same + mask_uniform is "
                f"{self.mask_profile + self.mask_same + self.mask_uniform}",
                mend="give three numbers of sum 1 or less; what is left is masked outright",
            )
        if self.num_clusters < 1:
            raise BadConfigError(
                f"reduce_clusters_by_templates leaves {self.num_clusters} clusters",
                mend="make max_msa_clusters greater than max_templates",
            )

    @property
    def num_clusters(self) -> int:
        """Rows of the MSA that become cluster centres, at most."""
        room = self.max_templates if self.reduce_clusters_by_templates else 0
        return self.max_msa_clusters - room

    @property
    def max_passes(self) -> int:
        """Passes through the network, at most."""
        return self.max_recycling + 1


_LEAST = {
    "crop_size": 1,
    "max_msa_clusters": 1,
    "max_extra_msa": 0,
    "max_templates": 0,
    "max_template_hits": 0,
    "max_recycling": 0,
    "validation_size": 1,
    "max_validation": 0,
    "deletion_blocks": 0,
    "max_distillation_msa": 1,
    "min_length": 1,
}
_FRACTIONS = (
    "masked_msa_fraction",
    "mask_profile",
    "mask_same",
    "mask_uniform",
    "deletion_block_fraction",
    "clamp_probability",
    "distillation_probability",
    "max_single_residue_fraction",
)
