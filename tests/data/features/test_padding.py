import numpy as np

from sci_memeff.data.config import DataConfig
from sci_memeff.data.features.padding import axis_sizes, pad_features
from sci_memeff.data.features.schema import RESIDUES


def test_sizes_are_those_of_the_configuration():
    config = DataConfig(max_extra_msa=0, max_templates=0, crop_size=9, max_msa_clusters=3)
    assert sorted(axis_sizes(config).values()) == [1, 1, 3, 9]


def test_zeros_come_at_the_end_and_nothing_is_cut():
    features = {
        "msa_mask": np.ones((2, 5), np.float32),
        "msa_feat": np.ones((2, 5, 49), np.float32),
        "extra_msa": np.ones((1, 5), np.int64),
        "seq_length": np.array(5),
    }
    config = DataConfig(crop_size=8, max_msa_clusters=4, max_extra_msa=3)
    padded = pad_features(features, axis_sizes(config))
    assert padded["msa_mask"].shape == (4, 8)
    assert padded["msa_mask"].sum() == 10
    assert padded["msa_mask"][:2, :5].all()
    assert padded["msa_feat"].shape == (4, 8, 49)
    assert padded["extra_msa"].shape == (3, 8)
    assert padded["seq_length"] == 5
    assert pad_features(features, {RESIDUES: 3})["msa_mask"].shape == (2, 5)
