from dataclasses import FrozenInstanceError, fields, replace

import pytest

from sci_memeff.alphafold.config import ModelConfig, model_config
from sci_memeff.errors import BadConfigError


def test_published_networks():
    assert model_config("model_1_ptm") == ModelConfig()
    assert model_config("model_2") == ModelConfig(ptm=False)
    assert model_config("model_3_ptm") == ModelConfig(templates=False)
    for i in range(1, 6):
        for suffix in ("", "_ptm"):
            config = model_config(f"model_{i}{suffix}")
            assert (config.templates, config.ptm) == (i <= 2, bool(suffix))


@pytest.mark.parametrize("name", ["model_6", "model_1_multimer_v3", "", "MODEL_1"])
def test_unknown_networks(name):
    with pytest.raises(
        BadConfigError,
        match=rf"(?s)no published model '{name}'.*mend: choose one of model_1, .*, model_5_ptm",
    ):
        model_config(name)


@pytest.mark.parametrize(
    "wrong",
    [
        {"c_m": 0},
        {"c_z": -1},
        {"num_heads_pair": 0},
        {"num_evoformer_blocks": -1},
        {"num_structure_iterations": 0},
        {"max_relative_position": 0},
    ],
)
def test_sizes_out_of_range(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(
        BadConfigError,
        match=rf"(?s)setting {name} is {value}.*mend: give a whole number from [01] on",
    ):
        ModelConfig(**wrong)


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, float("nan")])
@pytest.mark.parametrize("name", ["msa_dropout", "pair_dropout", "structure_dropout"])
def test_rates_out_of_range(name, rate):
    with pytest.raises(BadConfigError, match=rf"(?s)setting {name} is .*mend: give a rate from 0"):
        ModelConfig(**{name: rate})


def test_limits_are_allowed():
    config = ModelConfig(
        num_evoformer_blocks=0, num_template_blocks=0, num_extra_msa_blocks=0, pair_dropout=0.0
    )
    assert config.num_evoformer_blocks == 0


def test_a_value():
    config = ModelConfig()
    with pytest.raises(FrozenInstanceError):
        config.c_m = 3  # pyright: ignore
    assert hash(config) == hash(replace(config))
    with pytest.raises(TypeError):
        ModelConfig(256)  # pyright: ignore
    assert all(field.kw_only for field in fields(ModelConfig))
