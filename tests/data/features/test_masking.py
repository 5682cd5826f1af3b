import numpy as np
import pytest

from sci_memeff.data.config import DataConfig
from sci_memeff.data.features.masking import mask_msa, msa_profile


@pytest.fixture
def msa():
    return np.random.default_rng(0).integers(0, 22, (40, 13)).astype(np.uint8)


def test_profile_counts_every_token_of_a_column(msa):
    profile = msa_profile(msa)
    assert profile.shape == (13, 22)
    for column in range(13):
        for token in range(22):
            assert profile[column, token] == np.mean(msa[:, column] == token)
    assert profile.sum(axis=1) == pytest.approx(1.0)


def test_only_masked_letters_change_and_the_seed_decides(msa):
    config = DataConfig()
    one = mask_msa(msa, msa_profile(msa), config, np.random.default_rng(3))
    two = mask_msa(msa, msa_profile(msa), config, np.random.default_rng(3))
    assert np.array_equal(one.msa, two.msa)
    assert np.array_equal(one.masked, two.masked)
    assert set(np.unique(one.masked)) == {False, True}
    assert np.array_equal(one.msa[~one.masked], msa[~one.masked])
    assert (one.msa[one.masked] != msa[one.masked]).any()
    assert one.msa.max() == 22


def test_frequencies_of_the_four_replacements():
    # All letters are token 3, the profile says 7: each replacement leaves its own trace.
    msa = np.full((600, 100), 3, np.uint8)
    profile = np.zeros((100, 22))
    profile[:, 7] = 1.0
    masked = mask_msa(msa, profile, DataConfig(), np.random.default_rng(0))
    assert masked.masked.mean() == pytest.approx(0.15, abs=0.005)
    letters = masked.msa[masked.masked]
    share = np.bincount(letters, minlength=23) / len(letters)
    assert share[22] == pytest.approx(0.7, abs=0.015)
    assert share[3] == pytest.approx(0.1 + 0.1 / 20, abs=0.01)
    assert share[7] == pytest.approx(0.1 + 0.1 / 20, abs=0.01)
    others = np.delete(share[:20], [3, 7])
    assert others == pytest.approx(np.full(18, 0.1 / 20), abs=0.0035)
    assert share[20:22].sum() == 0.0


def test_profile_draws_follow_the_profile():
    profile = np.tile(np.array([0.5, 0.3] + [0.0] * 19 + [0.2]), (200, 1))
    config = DataConfig(masked_msa_fraction=1.0, mask_profile=1.0, mask_same=0.0, mask_uniform=0.0)
    drawn = mask_msa(np.zeros((100, 200), np.uint8), profile, config, np.random.default_rng(0)).msa
    share = np.bincount(drawn.ravel(), minlength=22) / drawn.size
    assert share[[0, 1, 21]] == pytest.approx([0.5, 0.3, 0.2], abs=0.015)
    assert share.sum() == pytest.approx(share[[0, 1, 21]].sum())


def test_nothing_is_masked_if_nothing_shall_be(msa):
    masked = mask_msa(
        msa, msa_profile(msa), DataConfig(masked_msa_fraction=0.0), np.random.default_rng(0)
    )
    assert not masked.masked.any()
    assert np.array_equal(masked.msa, msa)
