import numpy as np
import pytest

from sci_memeff.data.features.crop import crop_start, take_crop


def starts(length, crop_size, clamped, count=6000):
    rng = np.random.default_rng(0)
    drawn = [crop_start(length, crop_size, clamped=clamped, rng=rng) for _ in range(count)]
    return np.bincount(drawn, minlength=length - crop_size + 1) / count


def test_clamped_crops_start_anywhere_alike():
    assert starts(14, 10, clamped=True) == pytest.approx([0.2] * 5, abs=0.02)


def test_unclamped_crops_prefer_the_beginning():
    # An upper bound uniform on 0…4, then a start uniform up to it.
    expected = [sum(1 / 5 / (bound + 1) for bound in range(start, 5)) for start in range(5)]
    assert starts(14, 10, clamped=False) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("clamped", [True, False])
def test_short_chains_are_taken_whole(clamped):
    assert crop_start(7, 10, clamped=clamped, rng=np.random.default_rng(0)) == 0


def test_every_feature_is_cut_at_the_same_residues():
    residues = np.arange(12)
    features = {
        "aatype": residues,
        "all_atom_mask": np.tile(residues[:, None], (1, 37)),
        "msa_feat": np.tile(residues[None, :, None, None], (3, 1, 49, 2)),  # two passes
        "extra_msa": np.tile(residues, (4, 1)),
        "template_pseudo_beta": np.tile(residues[None, :, None], (2, 1, 3)),
        "template_sum_probs": np.ones((2, 1)),
        "msa_row_mask": np.ones(3),
        "resolution": np.array(2.0),
        "seq_length": np.array(12),
    }
    cropped = take_crop(features, 5, 4)
    assert cropped["seq_length"] == 4
    assert list(cropped["aatype"]) == [5, 6, 7, 8]
    assert np.array_equal(cropped["all_atom_mask"], features["all_atom_mask"][5:9])
    assert np.array_equal(cropped["msa_feat"], features["msa_feat"][:, 5:9])
    assert np.array_equal(cropped["extra_msa"], features["extra_msa"][:, 5:9])
    beta = features["template_pseudo_beta"]
    assert np.array_equal(cropped["template_pseudo_beta"], beta[:, 5:9])
    for name in ("template_sum_probs", "msa_row_mask", "resolution"):
        assert np.array_equal(cropped[name], features[name])
