import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sci_memeff.data.sources.index import list_records
from sci_memeff.data.sources.layout import DataFolder
from sci_memeff.data.sources.side_files import read_index, records_to_hold_out
from sci_memeff.errors import BadDataError


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("[]", r"json: is no index of chains \(it is a list\)"),
        ("{", r"json, line 1: is no index of chains \(Expecting"),
        ('{\n"1aaa_A": {"seq": 1, "x"}}', "json, line 2: is no index"),
        ('{"1aaa_A": {}}', "json, field 1aaa_A: is no index .*'seq'"),
        ('{"1aaa_A": 3}', "json, field 1aaa_A: is no index"),
        ('{"1aaa_A": {"seq": "M", "release_date": "today"}}', "field 1aaa_A: .*'today'"),
        ('{"1aaa_A": {"seq": "M", "resolution": "good"}}', "field 1aaa_A: .*'good'"),
        ('{"1aaa_A": {"seq": "M", "resolution": -1}}', "field 1aaa_A: .*resolution is -1"),
        ('{"1aaa_A": {"seq": null}}', "field 1aaa_A: .*seq is None"),
        ('{"1aaa_A": {"seq": "M", "cluster_size": 1e999}}', "field 1aaa_A: .*OverflowError"),
    ],
)
def test_a_bad_index_is_an_error(root, text, wrong):
    (root / "chain_data_cache.json").write_text(text)
    with pytest.raises(BadDataError, match=wrong) as bad:
        list_records(DataFolder(root))
    assert 'mend: give {"1ubq_A"' in str(bad.value)


VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4))
ENTRY = st.fixed_dictionaries(
    {"seq": st.text(max_size=4) | VALUES},
    optional={"resolution": VALUES, "release_date": VALUES, "cluster_size": VALUES},
)


@settings(
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.dictionaries(st.sampled_from(["1aaa_A", "_"]), ENTRY, max_size=2) | VALUES)
def test_any_index_is_read_or_refused(tmp_path, index):
    (tmp_path / "chain_data_cache.json").write_text(json.dumps(index))
    try:
        records = read_index(DataFolder(tmp_path)).values()
    except BadDataError:
        return
    for record in records:
        assert record.sequence.isalpha() or not record.sequence
        assert record.resolution is None or 0 < record.resolution < float("inf")
        assert record.cluster_size >= 1


def sizes(root, text):
    (root / "clusters.txt").write_text(text)
    return [record.cluster_size for record in list_records(DataFolder(root)).records]


def test_clusters_count_their_chains(root):
    assert sizes(root, "1AAA_A 1aaa_C 9zzz_B\n\n2bbb_A\n") == [3, 3, 1, 1]


def test_a_chain_has_one_cluster(root):
    with pytest.raises(BadDataError, match=r"clusters.txt, line 3: 1aaa_A stands in line 1") as bad:
        sizes(root, "1aaa_A 1aaa_C\n2bbb_A\n1AAA_A\n")
    assert "give each chain one cluster" in bad.value.mend


def test_clusters_are_of_these_chains(root):
    with pytest.raises(
        BadDataError, match=r"names none of the chains .* but 1aaa_1, 2bbb_1"
    ) as bad:
        sizes(root, "1AAA_1 2BBB_1\n")  # RCSB's clusters are of entities
    assert "as in 1aaa_A" in bad.value.mend


def held_out(root):
    folder = DataFolder(root)
    return [one.name for one in records_to_hold_out(folder, list_records(folder).records)]


def test_names_to_hold_out(root):
    assert held_out(root) == []
    (root / "validation.txt").write_text("2BBB_A\n1aaa_A 2BBB_A\n")
    assert held_out(root) == ["2bbb_A", "1aaa_A"]


def test_names_to_hold_out_must_be_measured_chains_that_are_there(root):
    (root / "validation.txt").write_text("1aaa_A ccc 9zzz_A\n")
    with pytest.raises(
        BadDataError, match=r"validation.txt: names chains .*: ccc, 9zzz_A\n"
    ) as bad:
        held_out(root)
    assert "name some of 1aaa_A, 1aaa_C, 2bbb_A" in bad.value.mend
