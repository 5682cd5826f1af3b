from dataclasses import FrozenInstanceError

import pytest

from sci_memeff.data.config import DataConfig
from sci_memeff.errors import BadConfigError


def test_defaults_are_those_of_initial_training():
    config = DataConfig()
    sizes = (config.crop_size, config.max_msa_clusters, config.max_extra_msa, config.max_templates)
    assert sizes == (256, 128, 1024, 4)
    assert config.max_passes == 4
    assert (config.masked_msa_fraction, config.clamp_probability) == (0.15, 0.9)
    with pytest.raises(FrozenInstanceError):
        config.crop_size = 3  # pyright: ignore


def test_room_for_template_rows():
    assert DataConfig(max_msa_clusters=512).num_clusters == 512
    config = DataConfig(max_msa_clusters=512, reduce_clusters_by_templates=True)
    assert config.num_clusters == 508


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"crop_size": 0}, "crop_size is 0\n  mend: give at least 1"),
        ({"max_extra_msa": -1}, "give at least 0"),
        ({"clamp_probability": 1.5}, "clamp_probability is 1.5\n  mend: give a number from 0 to 1"),
        ({"mask_same": 0.9}, "give three numbers of sum 1 or less"),
        (
            {"max_msa_clusters": 4, "reduce_clusters_by_templates": True},
            "make max_msa_clusters greater than max_templates",
        ),
    ],
)
def test_says_what_is_out_of_range(setting, message):
    with pytest.raises(BadConfigError, match=message):
        DataConfig(**setting)
