"""Named sets of settings: AlphaFold 2's two stages of training, and a demo for any computer."""

from __future__ import annotations

from dataclasses import dataclass, field

from sci_memeff.alphafold.config import ModelConfig
from sci_memeff.alphafold.losses.config import LossConfig
from sci_memeff.data.config import DataConfig
from sci_memeff.errors import BadConfigError
from sci_memeff.training.config import OptimizerConfig, RunConfig

__all__ = ["PRESETS", "Preset", "preset"]


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Everything that a run is, but for its data and its weights to start from."""

    name: str
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    run: RunConfig = field(default_factory=RunConfig)


INITIAL_TRAINING = Preset(
    name="initial_training",
    # Supplement, Table 4, first column. The head for aligned errors is there from the start, so
    # that the weights fit the second stage; its loss has no weight yet.
    data=DataConfig(crop_size=256, max_msa_clusters=128, max_extra_msa=1024, max_templates=4),
    optimizer=OptimizerConfig(learning_rate=1e-3, warmup_samples=128_000, batch_size=128),
    run=RunConfig(steps=78_125, workers=8),  # 10 million samples
)

FINETUNING = Preset(
    name="finetuning",
    # Supplement, Table 4, second column, and section 1.9.7 for the aligned errors.
    data=DataConfig(crop_size=384, max_msa_clusters=512, max_extra_msa=5120, max_templates=4),
    loss=LossConfig.finetuning().with_ptm(),
    optimizer=OptimizerConfig(learning_rate=5e-4, warmup_samples=0, batch_size=128),
    run=RunConfig(steps=11_719, workers=8),  # 1.5 million samples
)

DEMO = Preset(
    name="demo",
    # Small enough to learn the bundled proteins by heart in minutes on two CPU cores. So small a
    # network learns faster with a shorter memory of squared gradients and one steep decay.
    model=ModelConfig(
        c_m=128,
        c_z=64,
        c_s=64,
        num_evoformer_blocks=2,
        # Four of the five bundled chains have no alignment, so no extra rows either; the outer
        # product mean then divides its bias by 0.001 (Algorithm 10's ε), and nothing is learnt.
        num_extra_msa_blocks=0,
        num_structure_iterations=4,
        num_heads_ipa=4,
        c_hidden_msa=16,
        c_hidden_opm=8,
        c_hidden_triangle_multiplication=64,
        c_hidden_triangle_attention=16,
        c_resnet=64,
        c_plddt=32,
        transition_factor=2,
        msa_dropout=0.0,
        pair_dropout=0.0,
        structure_dropout=0.0,
        templates=False,
        ptm=False,
    ),
    data=DataConfig(
        crop_size=84,  # the longest of the bundled chains: all are seen whole
        max_msa_clusters=8,
        max_extra_msa=8,
        max_templates=0,
        max_recycling=0,
        clamp_probability=0.0,
        distillation_probability=0.0,
    ),
    # A lone sequence has no column to guess a masked letter from.
    loss=LossConfig(masked_msa_weight=0.1),
    optimizer=OptimizerConfig(
        learning_rate=2e-3,
        warmup_samples=50,
        decay_after_samples=1700,
        decay_factor=0.2,
        batch_size=1,
        beta2=0.99,
        ema_decay=0.99,
    ),
    run=RunConfig(steps=2400, validate_every=600, checkpoint_every=480, keep_checkpoints=2),
)

PRESETS = {preset.name: preset for preset in (DEMO, INITIAL_TRAINING, FINETUNING)}


def preset(name: str) -> Preset:
    """The preset of that name; BadConfigError lists the names."""
    if name not in PRESETS:
        raise BadConfigError(
            f"there is no preset {name!r}", mend=f"choose one of {', '.join(PRESETS)}"
        )
    return PRESETS[name]
