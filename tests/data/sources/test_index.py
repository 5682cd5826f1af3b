import json
from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from sci_memeff.data.formats.structure import Chain, Structure
from sci_memeff.data.formats.write import write_mmcif, write_pdb
from sci_memeff.data.sources.index import list_records, validation_names
from sci_memeff.data.sources.layout import DataFolder
from sci_memeff.errors import BadDataError


def chain(author_id, sequence):
    mask = np.zeros((len(sequence), 37), bool)
    mask[:, :3] = True
    positions = np.zeros((*mask.shape, 3), np.float32)
    positions[..., 0] = np.arange(len(sequence))[:, None] * 3.8
    positions[:, :3] += np.eye(3, dtype=np.float32)
    positions[~mask] = 0.0
    numbers = tuple(str(index + 1) for index in range(len(sequence)))
    b_factors = np.where(mask, 70.0, 0.0).astype(np.float32)
    return Chain(author_id, author_id, sequence, positions, mask, b_factors, numbers)


@pytest.fixture
def root(tmp_path):
    """1aaa: chains A, B (the same) and C; 2bbb: A; a prediction."""
    chains = {"A": chain("A", "ARNDC"), "B": chain("B", "ARNDC"), "C": chain("C", "QEGH")}
    first = Structure("1aaa", chains, 2.5, date(2001, 2, 3))
    write_mmcif(tmp_path / "mmcif" / "1aaa.cif", first)
    second = Structure("2bbb", {"A": chain("A", "ILKMF")}, None, date(2002, 3, 4))
    write_mmcif(tmp_path / "mmcif" / "2bbb.cif", second)
    predicted = replace(second, entry_id="ccc", resolution=None, release_date=None)
    write_pdb(tmp_path / "predicted" / "ccc.pdb", predicted)
    return tmp_path


def names(root):
    records, unreadable = list_records(DataFolder(root))
    return [record.name for record in records], unreadable


def test_lists_what_the_structures_say(root):
    records, unreadable = list_records(DataFolder(root))
    assert not unreadable
    first, other, second, predicted = records
    assert (first.name, first.sequence, first.resolution) == ("1aaa_A", "ARNDC", 2.5)
    assert (first.release_date, first.cluster_size) == (date(2001, 2, 3), 1)
    assert (other.name, second.name) == ("1aaa_C", "2bbb_A")  # B is A once more
    assert second.resolution is None
    assert (predicted.name, predicted.is_distillation) == ("ccc", True)
    assert not first.is_distillation


def test_chains_with_alignments_speak_for_their_entry(root):
    (root / "alignments" / "1AAA_B").mkdir(parents=True)
    assert names(root)[0] == ["1AAA_B", "2bbb_A", "ccc"]


def test_names_what_cannot_be_read(root):
    (root / "alignments" / "1aaa_Z").mkdir(parents=True)
    (root / "mmcif" / "2bbb.cif").write_text("data_nothing\n")
    (root / "predicted" / "ccc.pdb").write_text("")
    found, unreadable = names(root)
    assert found == []
    assert set(unreadable) == {"1aaa_Z", "2bbb", "ccc"}
    assert "no protein chain 'Z'" in unreadable["1aaa_Z"]


def test_an_index_saves_reading(root):
    entry = {"seq": "ARN", "resolution": 3.1, "release_date": "2010-01-02", "cluster_size": 7}
    index = {"1aaa_B": entry, "2BBB_A": {"seq": "WWW", "resolution": 0.0}, "9zzz_A": entry}
    (root / "chain_data_cache.json").write_text(json.dumps(index))
    (root / "mmcif" / "1aaa.cif").write_text("never read")
    records, unreadable = list_records(DataFolder(root))
    assert not unreadable
    first, second, _ = records
    assert (first.name, first.sequence, first.cluster_size) == ("1aaa_B", "ARN", 7)
    assert (first.resolution, first.release_date) == (3.1, date(2010, 1, 2))
    assert (second.name, second.resolution, second.release_date) == ("2BBB_A", None, None)


@pytest.mark.parametrize("text", ["[]", "{", '{"1aaa_A": {}}', '{"1aaa_A": {"seq": 1, "x"}}'])
def test_a_bad_index_is_an_error(root, text):
    (root / "chain_data_cache.json").write_text(text)
    with pytest.raises(BadDataError, match=r"chain_data_cache.json: is no index of chains") as bad:
        names(root)
    assert 'mend: give {"1ubq_A"' in str(bad.value)


def test_clusters_count_their_chains(root):
    (root / "clusters.txt").write_text("1AAA_A 1aaa_C 9zzz_B\n2bbb_A\n")
    records, _ = list_records(DataFolder(root))
    assert [record.cluster_size for record in records] == [3, 3, 1, 1]


def test_validation_names(root):
    assert validation_names(DataFolder(root)) == ()
    (root / "validation.txt").write_text("1aaa_A\n2bbb_A\n")
    assert validation_names(DataFolder(root)) == ("1aaa_A", "2bbb_A")
