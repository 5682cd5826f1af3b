"""The presets hold AlphaFold 2's published numbers (Supplement, section 1.11 and Table 4)."""

import dataclasses

import pytest

from sci_memeff.alphafold.config import ModelConfig
from sci_memeff.errors import BadConfigError
from sci_memeff.training.presets import PRESETS, preset


def test_initial_training_is_table_4():
    one = preset("initial_training")
    assert (one.data.crop_size, one.data.max_msa_clusters, one.data.max_extra_msa) == (
        256,
        128,
        1024,
    )
    assert (one.data.max_templates, one.data.max_recycling) == (4, 3)
    assert one.data.distillation_probability == 0.75
    assert one.data.masked_msa_fraction == 0.15
    assert (one.optimizer.learning_rate, one.optimizer.warmup_samples) == (1e-3, 128_000)
    assert one.run.steps * one.optimizer.batch_size == 10_000_000
    assert one.loss.weights["violation"] == 0.0
    assert one.loss.weights["tm"] == 0.0
    assert one.model == ModelConfig()


def test_finetuning_is_table_4():
    two = preset("finetuning")
    assert (two.data.crop_size, two.data.max_msa_clusters, two.data.max_extra_msa) == (
        384,
        512,
        5120,
    )
    assert (two.data.max_templates, two.data.max_recycling) == (4, 3)
    assert (two.optimizer.learning_rate, two.optimizer.warmup_samples) == (5e-4, 0)
    assert two.run.steps * two.optimizer.batch_size == pytest.approx(1_500_000, rel=1e-4)
    weights = two.loss.weights
    assert (weights["violation"], weights["experimentally_resolved"], weights["tm"]) == (
        1.0,
        0.01,
        0.1,
    )


@pytest.mark.parametrize("name", ["initial_training", "finetuning"])
def test_both_stages_share_the_optimizer(name):
    config = preset(name).optimizer
    assert (config.batch_size, config.clip_norm, config.ema_decay) == (128, 0.1, 0.999)
    assert (config.beta1, config.beta2, config.eps) == (0.9, 0.999, 1e-6)
    assert (config.decay_after_samples, config.decay_factor) == (6_400_000, 0.95)


def test_presets_are_frozen_and_know_their_names():
    assert list(PRESETS) == ["demo", "initial_training", "finetuning"]
    assert all(name == one.name for name, one in PRESETS.items())
    with pytest.raises(dataclasses.FrozenInstanceError):
        preset("demo").name = "other"  # pyright: ignore


def test_unknown_preset_lists_the_names():
    with pytest.raises(BadConfigError, match=r"(?s)no preset 'big'.*demo, initial_training"):
        preset("big")
