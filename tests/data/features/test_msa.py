import numpy as np
import pytest

from sci_memeff.data.config import DataConfig
from sci_memeff.data.features.masking import msa_profile
from sci_memeff.data.features.msa import deletion_value, msa_pass, target_feat
from sci_memeff.data.proteins.record import Alignment


@pytest.fixture
def alignment():
    rng = np.random.default_rng(0)
    msa = rng.integers(0, 22, (30, 9)).astype(np.uint8)
    return Alignment(msa, rng.integers(0, 3, msa.shape).astype(np.int32))


def one_pass(alignment, turn=0, distillation=False, **settings):
    return msa_pass(
        alignment,
        np.arange(len(alignment.msa)),
        msa_profile(alignment.msa),
        DataConfig(**settings),
        (5, 6, turn),
        distillation=distillation,
    )


def test_deletion_values():
    assert deletion_value(np.array([0, 3, 10**6])) == pytest.approx([0.0, 0.5, 1.0], abs=1e-5)


def test_target_features_are_the_sequence():
    features = target_feat(np.array([0, 19, 20]))
    assert features.shape == (3, 22)
    assert features[:, 0].tolist() == [0, 0, 0]
    assert features.argmax(axis=1).tolist() == [1, 20, 21]


def test_the_49_channels(alignment):
    features = one_pass(alignment, max_msa_clusters=30)  # every row is its own cluster
    msa_feat = features["msa_feat"]
    assert msa_feat.shape == (30, 9, 49)
    tokens = msa_feat[..., :23].argmax(-1)
    shown = features["bert_mask"] == 0
    assert np.array_equal(tokens[shown], features["true_msa"][shown])
    assert np.array_equal(msa_feat[..., 25:48], msa_feat[..., :23])
    assert np.array_equal(msa_feat[..., 48], msa_feat[..., 24])
    rows = {tuple(row): index for index, row in enumerate(alignment.msa)}
    order = [rows[tuple(row)] for row in features["true_msa"]]
    assert order[0] == 0
    assert sorted(order) == list(range(30))
    deletions = alignment.deletions[order]
    assert np.array_equal(msa_feat[..., 23], deletions > 0)
    assert msa_feat[..., 24] == pytest.approx(2 / np.pi * np.arctan(deletions / 3), abs=1e-6)


def test_rows_are_centres_or_extra(alignment):
    features = one_pass(alignment, max_msa_clusters=4, max_extra_msa=7)
    assert features["msa_mask"].shape == (4, 9)
    assert features["msa_mask"].all()
    assert features["extra_msa"].shape == (7, 9)
    assert features["extra_msa_mask"].all()
    rows = [tuple(row) for row in [*features["true_msa"], *features["extra_msa"]]]
    assert len(set(rows)) == 11
    assert set(rows) <= {tuple(row) for row in alignment.msa}
    lookup = {tuple(row): d for row, d in zip(alignment.msa, alignment.deletions, strict=True)}
    deletions = np.array([lookup[tuple(row)] for row in features["extra_msa"]])
    assert np.array_equal(features["extra_has_deletion"], deletions > 0)
    assert np.array_equal(features["extra_deletion_value"], deletion_value(deletions))


def test_all_rows_count_in_the_clusters_even_those_that_are_not_extra(alignment):
    features = one_pass(alignment, max_msa_clusters=1, max_extra_msa=2, masked_msa_fraction=0.0)
    profile = np.stack([np.bincount(column, minlength=23) for column in alignment.msa.T]) / 30
    assert features["msa_feat"][0, :, 25:48] == pytest.approx(profile, abs=1e-6)


def test_a_lone_query_leaves_one_masked_extra_row(alignment):
    lone = Alignment(alignment.msa[:1], alignment.deletions[:1])
    for settings in ({}, {"max_extra_msa": 0}):
        features = one_pass(lone, **settings)
        assert features["extra_msa"].shape == (1, 9)
        assert not any(features[name].any() for name in features if name.startswith("extra_"))
        assert features["msa_feat"].shape == (1, 9, 49)


def test_distillation_examples_keep_fewer_rows(alignment):
    features = one_pass(alignment, max_msa_clusters=3, max_distillation_msa=10, distillation=True)
    assert len(features["extra_msa"]) == 7


def test_passes_differ_and_repeat(alignment):
    settings = {"max_msa_clusters": 5, "max_extra_msa": 5}
    once, again = one_pass(alignment, 0, **settings), one_pass(alignment, 0, **settings)
    other = one_pass(alignment, 1, **settings)
    assert all(np.array_equal(once[name], again[name]) for name in once)
    assert not np.array_equal(once["true_msa"], other["true_msa"])
    assert not np.array_equal(once["bert_mask"], other["bert_mask"])
