import numpy as np
import pytest

from sci_memeff.data.config import DataConfig
from sci_memeff.data.dataset import TrainingData
from sci_memeff.data.example import Example, Skipped
from sci_memeff.data.sources.layout import DataFolder
from sci_memeff.errors import BadDataError

CONFIG = DataConfig(crop_size=24, max_msa_clusters=8, max_extra_msa=8, max_recycling=1)


def equal(one, other):
    assert one.name == other.name
    assert set(one.features) == set(other.features)
    for name, value in one.features.items():
        assert value.tobytes() == other.features[name].tobytes(), name


def test_a_sample_is_a_function_of_seed_and_number(folder, tmp_path):
    data = TrainingData(folder, CONFIG, 5)
    samples = [data[k] for k in range(12)]
    assert {sample.name for sample in samples} == {"1ubq_A", "2q2k_A"}
    assert all(isinstance(sample, Example) for sample in samples)
    later = TrainingData(folder, CONFIG, 5, cache_dir=tmp_path / "cache")
    for k in (11, 3, 7):
        equal(later[k], samples[k])
        equal(later[k], samples[k])  # now out of the cache
    other = TrainingData(folder, CONFIG, 6)
    assert any(other[k].name != samples[k].name for k in range(12))
    assert len(data) > 10**18


def test_a_bad_file_is_a_skipped_sample(folder):
    data = TrainingData(folder, CONFIG)
    alignment = folder.alignments("2q2k_A").msas[0]
    alignment.write_text(">q\nAAAA\n")
    samples = [data[k] for k in range(12)]
    skipped = {sample for sample in samples if isinstance(sample, Skipped)}
    (one,) = skipped
    assert one.name == "2q2k_A"
    assert str(alignment) in one.reason
    assert "differs from the chain's sequence" in one.reason
    assert any(isinstance(sample, Example) for sample in samples)


def test_a_bug_is_not_a_skipped_sample(folder, monkeypatch):
    data = TrainingData(folder, CONFIG)

    def broken(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr("sci_memeff.data.dataset.training_example", broken)
    with pytest.raises(ZeroDivisionError):
        data[0]


def test_validation_scores_what_is_trained_on_if_nothing_is_held_out(folder):
    data = TrainingData(folder, CONFIG)
    once, again = data.validation(), data.validation()
    assert [example.name for example in once] == ["1ubq_A", "2q2k_A"]
    for one, other in zip(once, again, strict=True):
        equal(one, other)
        assert one.features["residue_index"][:, 0].tolist() == list(range(24))
        assert one.features["aatype"].shape[-1] == 2
    whole = TrainingData(folder, DataConfig(validation_size=1000, max_validation=1)).validation()
    assert [len(example.features["aatype"]) for example in whole] == [76]


def test_held_out_chains_are_scored_and_not_trained_on(folder):
    (folder.root / "validation.txt").write_text("2q2k_A\n")
    data = TrainingData(folder, CONFIG)
    assert [record.name for record in data.records] == ["1ubq_A"]
    assert {data[k].name for k in range(8)} == {"1ubq_A"}
    assert [example.name for example in data.validation()] == ["2q2k_A"]
    folder.alignments("2q2k_A").msas[0].write_text("")
    assert data.validation() == []
    assert "is empty" in data.dropped["2q2k_A"]


def test_names_to_hold_out_must_be_there(folder):
    (folder.root / "validation.txt").write_text("2q2k_A 9zzz_A\n")
    with pytest.raises(BadDataError, match=r"validation.txt: names .*: 9zzz_A\n") as bad:
        TrainingData(folder, CONFIG)
    assert "mend: name some of 1ubq_A, 2q2k_A" in str(bad.value)


def test_dropped_chains_are_named(folder):
    (folder.root / "mmcif" / "9bad.cif").write_text("data_x\n")
    (folder.alignment_dir / "9xyz_A").mkdir()
    data = TrainingData(folder, DataConfig(min_length=71))
    assert [record.name for record in data.records] == ["1ubq_A"]
    assert data.dropped["2q2k_A"] == "it has 70 residues, fewer than 71"
    assert "9bad.cif" in data.dropped["9bad"]
    assert "has alignments and no structure" in data.dropped["9xyz_A"]


def test_nothing_to_train_on_is_an_error(folder, tmp_path):
    with pytest.raises(BadDataError, match=r"nothing to train on\n  1ubq_A: .*than 1000\n") as bad:
        TrainingData(folder, DataConfig(min_length=1000))
    assert "mend: put structures into mmcif/" in str(bad.value)
    for number in range(12):
        (folder.root / "mmcif" / f"9b{number:02}.cif").write_text("")
    with pytest.raises(BadDataError, match=r"9b09: .*is empty\n    mend: .*\n  and 4 more\n"):
        TrainingData(folder, DataConfig(min_length=1000))
    (tmp_path / "bare").mkdir()
    with pytest.raises(BadDataError, match=r"nothing to train on: no structures in .*bare"):
        TrainingData(DataFolder(tmp_path / "bare"), CONFIG)


@pytest.mark.data
def test_real_proteins_and_a_prediction(real_data):
    config = DataConfig(crop_size=64, max_msa_clusters=8, max_extra_msa=8, max_recycling=0)
    data = TrainingData(DataFolder(real_data), config)
    assert not data.dropped
    assert len(data.records) == 10
    distilled = 0
    for k in range(12):
        sample = data[k]
        assert isinstance(sample, Example)
        assert np.isfinite(sample.features["msa_feat"]).all()
        distilled += int(sample.features["is_distillation"][0])
        assert (sample.name == "6kwc_A") == (sample.features["is_distillation"][0] == 1)
    assert 4 < distilled < 12
