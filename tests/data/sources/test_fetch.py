import gzip
import os

import pytest

from sci_memeff.data.sources.download import NotFoundError
from sci_memeff.data.sources.fetch import FetchReport, Servers, fetch, fetch_alignments, fetch_entry
from sci_memeff.data.sources.layout import DataFolder
from sci_memeff.errors import BadDataError

from .server import Server, serve

SEARCHES = ["bfd_uniclust_hits.a3m", "mgnify_hits.a3m", "pdb70_hits.hhr", "uniref90_hits.a3m"]


@pytest.fixture
def server(bundled):
    """RCSB with four entries, three of them damaged, and OpenProteinSet with two chains."""
    entry = (bundled / "mmcif/1psm.cif").read_bytes()
    a3m = b">query\nMK\n"
    hits = b"Query         protein\n"
    files = {
        "/rcsb/1psm.cif.gz": gzip.compress(entry),
        "/rcsb/2dam.cif.gz": gzip.compress(entry)[:-20],
        "/rcsb/3cut.cif.gz": gzip.compress(entry[: len(entry) // 2]),
        "/rcsb/4txt.cif.gz": entry,
        "/ops/1psm_A/a3m/bfd_uniclust_hits.a3m": a3m,
        "/ops/1psm_A/a3m/mgnify_hits.a3m": a3m,
        "/ops/1psm_A/a3m/uniref90_hits.a3m": a3m,
        "/ops/1psm_A/hhr/pdb70_hits.hhr": hits,
        "/ops/1abc_B/a3m/mgnify_hits.a3m": a3m,
        "/ops/1bad_A/a3m/bfd_uniclust_hits.a3m": b">q\nMK\n>r\nM\n",
    }
    with serve(files) as server:
        yield server


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def servers(server: Server) -> Servers:
    # a slash at the end is as good as none
    return Servers(f"{server.address}/rcsb", f"{server.address}/ops/", timeout=5.0)


def test_into_the_layout_and_only_once(tmp_path, server):
    seen = []

    def progress(name: str, report: FetchReport) -> None:
        seen.append((name, len(report.fetched), len(report.present), len(report.failed)))

    report = fetch(["1PSM_A"], tmp_path, servers=servers(server), progress=progress)
    assert len(report.fetched) == 5
    assert not report.failed
    folder = DataFolder(tmp_path)
    assert folder.entries() == ("1psm",)
    assert len(folder.chain("1psm_A")) == 38
    assert sorted(os.listdir(tmp_path / "alignments/1psm_A")) == SEARCHES
    assert len(folder.msas("1psm_A")) == 3

    asked = len(server.asked)
    again = fetch(["1psm_A", "1psm"], tmp_path, servers=servers(server), progress=progress)
    assert len(server.asked) == asked == 5
    assert (again.fetched, len(again.present)) == ([], 6)
    assert seen == [("1PSM_A", 5, 0, 0), ("1psm_A", 0, 5, 0), ("1psm", 0, 6, 0)]


def test_what_was_broken_off_goes_on(tmp_path, server):
    fetch_alignments("1psm_A", tmp_path, servers=servers(server))
    lost = tmp_path / "alignments/1psm_A/mgnify_hits.a3m"
    lost.unlink()
    report = FetchReport()
    fetch_alignments("1psm_A", tmp_path, servers=servers(server), report=report)
    assert report.fetched == [lost]
    assert len(report.present) == 3


def test_an_entry_that_is_there_unpacked_is_not_fetched(tmp_path, server, bundled):
    plain = tmp_path / "mmcif" / "1psm.cif"
    plain.parent.mkdir()
    plain.write_bytes((bundled / "mmcif/1psm.cif").read_bytes())
    assert fetch_entry("1PSM", tmp_path, servers=servers(server)) == plain
    assert server.asked == []


def test_entries_alone(tmp_path, server):
    report = fetch(["1psm_A"], tmp_path, servers=servers(server), alignments=False)
    assert [path.name for path in report.fetched] == ["1psm.cif.gz"]


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("2dam", "is damaged or cut short"),
        ("3cut", "is not CIF|does not end in '#'"),
        ("4txt", "is named .gz and is not gzip"),
        ("9abs", "not found"),
        ("../x", "is no PDB id"),
        ("1bad_A", "not found"),
    ],
)
def test_a_failure_is_reported_writes_nothing_and_stops_nothing(tmp_path, server, name, wrong):
    report = fetch([name, "1psm"], tmp_path, servers=servers(server))
    assert list(report.failed) == [name]
    with pytest.raises(BadDataError, match=wrong):
        raise report.failed[name]
    assert os.listdir(tmp_path / "mmcif") == ["1psm.cif.gz"]


def test_a_search_that_is_absent_is_named(tmp_path, server):
    report = FetchReport()
    paths = fetch_alignments("1abc_B", tmp_path, servers=servers(server), report=report)
    assert [path.name for path in paths] == ["mgnify_hits.a3m"]
    assert [address.rsplit("/", 1)[1] for address in report.absent] == [
        "bfd_uniclust_hits.a3m",
        "uniref90_hits.a3m",
        "pdb70_hits.hhr",
    ]


def test_a_chain_that_openproteinset_lacks(tmp_path, server):
    with pytest.raises(NotFoundError, match="no alignments of 1xyz_A") as caught:
        fetch_alignments("1xyz_A", tmp_path, servers=servers(server))
    assert "duplicate_pdb_chains.txt" in caught.value.mend
    assert os.listdir(tmp_path) == []


def test_a_bad_alignment_is_not_kept(tmp_path, server):
    with pytest.raises(BadDataError, match="ragged"):
        fetch_alignments("1bad_A", tmp_path, servers=servers(server))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["1psm_../..", "1psm_A/B", "1psm_Å"])
def test_what_is_no_chain_name(tmp_path, server, name):
    with pytest.raises(BadDataError, match="is no chain name") as caught:
        fetch_alignments(name, tmp_path, servers=servers(server))
    assert "ENTRY_CHAIN" in caught.value.mend
    assert server.asked == []
