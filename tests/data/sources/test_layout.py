import gzip
import shutil
from dataclasses import replace

import pytest

from sci_memeff.data.formats.write import write_pdb
from sci_memeff.data.sources.layout import AlignmentFiles, DataFolder, split_name
from sci_memeff.errors import BadDataError


@pytest.fixture
def root(tmp_path, bundled):
    """Two flat entries, one compressed, and the alignments of one chain."""
    mmcif = tmp_path / "mmcif"
    mmcif.mkdir()
    shutil.copy(bundled / "mmcif/1psm.cif", mmcif)
    compressed = gzip.compress((bundled / "mmcif/2q2k.cif").read_bytes())
    (mmcif / "2q2k.cif.gz").write_bytes(compressed)
    (mmcif / ".hidden.cif").write_text("no entry")
    shutil.copytree(bundled / "alignments", tmp_path / "alignments")
    return tmp_path


def test_the_bundled_folder(bundled):
    folder = DataFolder(bundled)
    assert folder.entries() == ("1hf9", "1psm", "1ubq", "2q2k", "4zey")
    assert folder.aligned_chains() == ("2q2k_A",)
    assert folder.predictions() == ()
    assert len(folder.chain("1ubq_A")) == 76
    msas = folder.msas("2q2k_A")
    assert [len(msa) for msa in msas.values()] == [4, 7, 16]
    assert all(path.startswith(str(bundled)) for path in msas)
    assert {msa.query for msa in msas.values()} == {folder.chain("2q2k_A").sequence}
    assert str(folder) == f"DataFolder({str(bundled)!r})"


def test_flat_and_compressed(root):
    folder = DataFolder(root)
    assert folder.entries() == ("1psm", "2q2k")
    assert folder.structure("2Q2K").entry_id == "2q2k"
    assert folder.mmcif_path("2q2k").name == "2q2k.cif.gz"


def test_divided_and_in_capitals(root):
    divided = root / "mmcif" / "ps"
    divided.mkdir()
    (root / "mmcif" / "1psm.cif").rename(divided / "1psm.cif")
    (root / "mmcif" / "2q2k.cif.gz").rename(root / "mmcif" / "2Q2K.cif.gz")
    folder = DataFolder(root)
    assert folder.entries() == ("1psm", "2q2k")
    assert folder.structure("1psm").entry_id == "1psm"
    assert folder.structure("2q2k").entry_id == "2q2k"


@pytest.mark.parametrize("name", ["mmcif_files", "pdb_mmcif/mmcif_files"])
def test_other_names_of_the_folder(root, name):
    (root / name).parent.mkdir(exist_ok=True)
    (root / "mmcif").rename(root / name)
    assert DataFolder(root).entries() == ("1psm", "2q2k")


def test_folders_that_are_given(root, tmp_path_factory, bundled):
    empty = tmp_path_factory.mktemp("empty")
    folder = DataFolder(empty, mmcif_dir=root / "mmcif", alignment_dir=bundled / "alignments")
    assert folder.entries() == ("1psm", "2q2k")
    assert folder.aligned_chains() == ("2q2k_A",)
    assert DataFolder(root, mmcif_dir="mmcif").entries() == ("1psm", "2q2k")
    assert DataFolder(empty).entries() == DataFolder(empty).aligned_chains() == ()


@pytest.mark.parametrize("arguments", [("absent",), (".", "absent"), (".", None, "absent")])
def test_folders_that_are_not_there(root, monkeypatch, arguments):
    monkeypatch.chdir(root)
    with pytest.raises(BadDataError, match="absent: no such folder") as caught:
        DataFolder(*arguments)
    assert "give" in caught.value.mend


@pytest.mark.parametrize("name", ["mmcif", "alignments", "predicted"])
def test_a_folder_that_is_a_file(tmp_path, name):
    (tmp_path / name).write_text("x")
    with pytest.raises(BadDataError, match=f"{name}: is a file") as caught:
        DataFolder(tmp_path)
    assert "make it a folder" in caught.value.mend


def test_alignments_that_are_a_file(root):
    (root / "alignments" / "1psm_A").write_text(">q\nMK\n")
    with pytest.raises(BadDataError, match="1psm_A: is a file\n  mend: make it a folder"):
        DataFolder(root).msas("1psm_A")


def test_a_chain_without_alignments_has_none(root):
    folder = DataFolder(root)
    assert folder.alignments("1psm_A") == AlignmentFiles()
    assert folder.msas("1psm_A") == {}
    assert folder.template_hits("1psm_A") == ()


def test_files_of_a_chain(root):
    chain = root / "alignments" / "2q2k_A"
    for name in ("hmm_output.sto", "uniprot_hits.sto", "notes.txt", ".a3m", "b.hhr", "a.hhr.gz"):
        (chain / name).write_text("x")
    (chain / "a3m").mkdir()
    (chain / "a3m" / "more.a3m.gz").write_bytes(gzip.compress(b">q\nMK\n"))
    files = DataFolder(root).alignments("2q2k_A")
    assert [path.name for path in files.msas] == [
        "more.a3m.gz",
        "bfd_uniclust_hits.a3m",
        "mgnify_hits.sto",
        "uniref90_hits.sto",
    ]
    assert [path.name for path in files.hits] == ["a.hhr.gz", "b.hhr"]


def test_an_entry_that_is_not_there(root):
    with pytest.raises(
        BadDataError, match=r"no file of entry 1psn: looked for 1psn\.cif or"
    ) as caught:
        DataFolder(root).structure("1psn")
    assert caught.value.mend.endswith("that is there: 1psm")
    with pytest.raises(BadDataError, match="no file of entry zzzz") as caught:
        DataFolder(root).structure("zzzz")
    assert "1psm, 2q2k" in caught.value.mend


def test_a_prediction_that_is_not_there(root):
    with pytest.raises(BadDataError, match="no file of prediction 1psm_A") as caught:
        DataFolder(root).prediction("1psm_A")
    assert "there is none" in caught.value.mend


def test_a_prediction_is_one_chain(tmp_path, bundled):
    structure = DataFolder(bundled).structure("1psm")
    chain = structure.chain("A")
    assert len(chain) == 38
    two = replace(structure, chains={"A": chain, "B": replace(chain, author_id="B")})
    write_pdb(tmp_path / "predicted" / "two.pdb", two)
    write_pdb(tmp_path / "predicted" / "one.pdb", structure)
    folder = DataFolder(tmp_path)
    assert folder.prediction("one").sequence == chain.sequence
    with pytest.raises(BadDataError, match=r"two.pdb: has 2 protein chains: A, B") as caught:
        folder.prediction("two")
    assert "one file for each predicted chain" in caught.value.mend


def test_an_unknown_chain_of_an_entry(root):
    with pytest.raises(BadDataError, match="no protein chain 'Q'") as caught:
        DataFolder(root).chain("1psm_Q")
    assert caught.value.mend.endswith(": A")


def test_names():
    assert split_name("1UBQ_a") == ("1ubq", "a")
    assert split_name("7abc_A_2") == ("7abc", "A_2")
    for name in ("1ubq", "_A", "1ubq_", ""):
        with pytest.raises(BadDataError, match="is no chain name") as caught:
            split_name(name)
        assert "as in 1ubq_A" in caught.value.mend


@pytest.mark.data
def test_real_folder(real_data):
    folder = DataFolder(real_data)
    entries = "102m 1a8q 1psm 1ubq 2q2k 3u8v 5zyh 7zzx 8f9h"
    assert " ".join(folder.entries()) == entries
    assert folder.predictions() == ("6kwc_A",)
    assert len(folder.template_hits("6kwc_A")) == 60
    sequence = folder.prediction("6kwc_A").sequence
    assert {msa.query for msa in folder.msas("6kwc_A").values()} == {sequence}
    for name in ("102m_A", "5zyh_A", "7zzx_B", "8f9h_A", "2q2k_A"):
        assert {msa.query for msa in folder.msas(name).values()} == {folder.chain(name).sequence}
