import json
from datetime import date

from sci_memeff.data.sources.index import list_records
from sci_memeff.data.sources.layout import DataFolder


def names(root):
    listing = list_records(DataFolder(root))
    return [record.name for record in listing.records], listing.unreadable


def test_lists_what_the_structures_say(root):
    records, unreadable, unused = list_records(DataFolder(root))
    assert not unreadable
    assert not unused
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
    assert "has no table _atom_site" in unreadable["2bbb"]
    assert "mend: fetch the file again" in unreadable["2bbb"]


def test_names_alignments_that_belong_to_nothing(root):
    for name in ("1aaa_A", "ccc", "2bbb", "2bbb_", "9zzz_A", "1aaa_Z"):
        (root / "alignments" / name).mkdir(parents=True)
    records, unreadable, unused = list_records(DataFolder(root))
    assert [record.name for record in records] == ["1aaa_A", "2bbb_A", "ccc"]
    assert set(unreadable) == {"1aaa_Z"}
    assert set(unused) == {"2bbb", "2bbb_", "9zzz_A"}
    assert unused["2bbb"] == unused["2bbb_"]
    assert "the folder's name must be ENTRY_CHAIN" in unused["2bbb"]
    assert "no structure: 9zzz.cif is not in" in unused["9zzz_A"]


def test_an_index_saves_reading(root):
    entry = {"seq": "ARN", "resolution": 3.1, "release_date": "2010-01-02", "cluster_size": 7}
    index = {"1aaa_B": entry, "2BBB_A": {"seq": "WWW", "resolution": 0.0}, "9zzz_A": entry}
    (root / "chain_data_cache.json").write_text(json.dumps(index))
    (root / "mmcif" / "1aaa.cif").write_text("never read")
    (root / "alignments" / "2bbb_C").mkdir(parents=True)
    (root / "alignments" / "2bbb_A").mkdir()
    records, unreadable, unused = list_records(DataFolder(root))
    assert not unreadable
    assert unused == {"2bbb_C": "has alignments and is not in chain_data_cache.json"}
    first, second, _ = records
    assert (first.name, first.sequence, first.cluster_size) == ("1aaa_B", "ARN", 7)
    assert (first.resolution, first.release_date) == (3.1, date(2010, 1, 2))
    assert (second.name, second.resolution, second.release_date) == ("2BBB_A", None, None)
