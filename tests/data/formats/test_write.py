import datetime
import os
from dataclasses import replace

import gemmi
import numpy as np
import pytest
from Bio.PDB.MMCIFParser import MMCIFParser
from Bio.PDB.PDBParser import PDBParser

from sci_memeff.data.formats.mmcif import parse_mmcif, read_mmcif
from sci_memeff.data.formats.mmcif_text import format_mmcif
from sci_memeff.data.formats.pdb import parse_pdb, read_pdb
from sci_memeff.data.formats.pdb_text import format_pdb
from sci_memeff.data.formats.structure import Chain, Structure
from sci_memeff.data.formats.write import predicted, write_mmcif, write_pdb
from sci_memeff.errors import BadDataError


def chain(name: str = "A", sequence: str = "MGXR", seed: int = 0, label: str = "") -> Chain:
    """Random atoms; the second residue is not resolved, the third has an insertion code."""
    rng = np.random.default_rng(seed)
    mask = rng.random((len(sequence), 37)) < 0.3
    mask[:, 1] = True
    mask[1] = False
    mask[[letter == "R" for letter in sequence], 29:31] = False  # no NH1 and NH2 to put in order
    assert mask.any()
    assert not mask.all()
    positions = np.round(rng.normal(scale=30, size=(*mask.shape, 3)), 3).astype(np.float32)
    b_factors = np.round(rng.uniform(0, 99, mask.shape), 2).astype(np.float32)
    return Chain(
        author_id=name,
        label_id=label or name,
        sequence=sequence,
        positions=positions * mask[..., None],
        mask=mask,
        b_factors=b_factors * mask,
        author_numbers=("-1", "", "52A", *map(str, range(60, 57 + len(sequence)))),
    )


def whole() -> Structure:
    chains = [
        chain(),
        chain("b", seed=1, label="B"),  # of one sequence, so of one entity
        chain("7", "AGRA" * 30, seed=2, label="C"),
    ]
    return Structure(
        "9xyz",
        {c.author_id: c for c in chains},
        1.85,
        datetime.date(2020, 2, 29),
        "X-RAY DIFFRACTION",
    )


def assert_same(first: Chain, second: Chain) -> None:
    for name, value in vars(first).items():
        assert np.array_equal(value, getattr(second, name)), name


def test_components_are_called_peptides_as_the_pdb_writes_it():
    kinds = (
        gemmi.cif.read_string(format_mmcif(whole()))
        .sole_block()
        .find("_chem_comp.", ["id", "type"])
    )
    found = {row.str(0): row.str(1) for row in kinds}
    residues = ("ALA", "ARG", "MET", "UNK")
    assert found == {"GLY": "peptide linking"} | dict.fromkeys(residues, "L-peptide linking")


def test_mmcif_round_trip():
    structure = whole()
    again = parse_mmcif(format_mmcif(structure), source="s")
    assert list(again.chains) == ["A", "b", "7"]
    for name, one in structure.chains.items():
        assert_same(one, again.chains[name])
    for name in ("entry_id", "resolution", "release_date", "method", "num_models"):
        assert getattr(again, name) == getattr(structure, name)
    assert format_mmcif(again) == format_mmcif(structure)


def test_what_is_unknown_stays_unknown():
    again = parse_mmcif(format_mmcif(Structure("x", {"A": chain()})), source="s")
    assert (again.resolution, again.release_date, again.method) == (None, None, "")


def test_chains_of_one_sequence_are_one_entity():
    text = format_mmcif(whole())
    assert "A,b" in text
    assert "\nA 1\nB 1\nC 2\n" in text


@pytest.mark.data
@pytest.mark.parametrize("entry_id", ["1psm", "2q2k", "3u8v", "5zyh", "7zzx"])
def test_real_entries_round_trip(real_data, entry_id):
    structure = read_mmcif(real_data / "mmcif" / f"{entry_id}.cif")
    again = parse_mmcif(format_mmcif(structure), source="s")
    as_pdb = parse_pdb(format_pdb(structure), source="s", entry_id=entry_id)
    for name, one in structure.chains.items():
        assert_same(one, again.chains[name])
        assert_same(one, replace(as_pdb.chains[name], label_id=one.label_id))


def test_biopython_reads_both(tmp_path):
    structure = whole()
    write_mmcif(tmp_path / "x.cif", structure)
    write_pdb(tmp_path / "x.pdb", structure)
    for theirs in (
        MMCIFParser(QUIET=True).get_structure("x", tmp_path / "x.cif"),
        PDBParser(QUIET=True).get_structure("x", tmp_path / "x.pdb"),
    ):
        assert [c.id for c in theirs.get_chains()] == list(structure.chains)
        for name, one in structure.chains.items():
            atoms = list(theirs[0][name].get_atoms())
            found = np.array([atom.coord for atom in atoms])
            assert np.array_equal(found, one.positions[one.mask])
            assert np.allclose([atom.bfactor for atom in atoms], one.b_factors[one.mask])
        assert theirs.header["resolution"] == 1.85


def test_prediction_with_confidence(tmp_path):
    mask = chain().mask
    plddt = np.array([90.0, 80.0, 70.0, 61.5])
    structure = predicted("my protein", "MGXR", chain().positions.astype(float), mask, plddt)
    path = write_mmcif(tmp_path / "new" / "a.cif", structure, plddt=True)
    again = read_mmcif(path).chain("A")
    assert again.author_numbers == ("1", "", "3", "4")
    assert np.array_equal(again.b_factors, mask * plddt[:, None].astype(np.float32))
    text = path.read_text()
    assert "\nA UNK 3 2 70.00 1 2\n" in text
    assert "_ma_qa_metric_global.metric_value 73.83" in text
    assert "ma_qa_metric" not in format_mmcif(structure)
    assert read_pdb(write_pdb(tmp_path / "a.pdb", structure)).chain("A").b_factors.max() == 90
    assert sorted(os.listdir(tmp_path)) == ["a.pdb", "new"]
    assert os.listdir(tmp_path / "new") == ["a.cif"]


def test_minus_zero_and_masked_positions_are_not_written():
    positions = np.full((1, 37, 3), np.nan)
    positions[0, 1] = -0.0001, 0, 1
    mask = np.zeros((1, 37), bool)
    mask[0, 1] = True
    text = format_mmcif(predicted("p", "A", positions, mask, np.array([50.0])))
    assert "Cartn_x 0.000\n_atom_site.Cartn_y 0.000\n_atom_site.Cartn_z 1.000\n" in text
    assert "nan" not in text


@pytest.mark.parametrize(
    ("change", "wrong", "mend"),
    [
        ({"author_numbers": ("1", "", "x", "4")}, "'x' is no author number", "give each resolved"),
        ({"author_numbers": ("", "", "3", "4")}, "'' is no author number", "give each resolved"),
        ({"positions": chain().positions + np.float32(np.nan)}, "not finite", "mask these atoms"),
        ({"b_factors": chain().b_factors + np.float32(np.inf)}, "not finite", "mask these atoms"),
    ],
)
def test_nothing_is_written_of_what_cannot_be(tmp_path, change, wrong, mend):
    structure = Structure("x", {"A": replace(chain(), **change)})
    for write in (write_mmcif, write_pdb):
        with pytest.raises(BadDataError, match=wrong) as caught:
            write(tmp_path / "x", structure)
        assert mend in caught.value.mend
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "one", [chain("AA"), replace(chain(), positions=chain().positions + np.float32(12000))]
)
def test_what_a_pdb_file_cannot_hold(one):
    with pytest.raises(BadDataError, match="does not fit into a PDB file") as caught:
        format_pdb(Structure("x", {one.author_id: one}))
    assert "write mmCIF" in caught.value.mend
    assert parse_mmcif(format_mmcif(Structure("x", {one.author_id: one})), source="s").chains
