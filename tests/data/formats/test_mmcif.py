import datetime
import gzip
import re
import warnings

import numpy as np
import pytest
from Bio.PDB.MMCIFParser import MMCIFParser

from sci_memeff.chemistry import ATOM37, ATOM37_INDEX
from sci_memeff.data.formats.mmcif import parse_mmcif, read_mmcif
from sci_memeff.errors import BadDataError

from .entries import GLYCINE, atom, entry, loop

CA = ATOM37_INDEX["CA"]


def test_unresolved_residues_and_both_numberings():
    # SEQRES has five residues; the author begins at 52 and inserts 52A
    atoms = [
        atom("CA", "ALA", 2, (1, 0, 0), auth_seq_id=52, auth_asym_id="H", label_asym_id="C"),
        atom(
            "CA",
            "GLY",
            3,
            (2, 0, 0),
            auth_seq_id=52,
            auth_asym_id="H",
            label_asym_id="C",
            pdbx_PDB_ins_code="A",
        ),
        atom("CA", "SER", 5, (3, 0, 0), auth_seq_id=-3, auth_asym_id="H", label_asym_id="C"),
    ]
    text = entry(["MET", "ALA", "GLY", "LYS", "SER"], atoms).replace("\nA 1\n", "\nC 1\n")
    structure = parse_mmcif(text, source="s")
    chain = structure.chain("H")
    assert structure.entry_id == "test"
    assert (chain.author_id, chain.label_id) == ("H", "C")
    assert chain.sequence == "MAGKS"
    assert chain.author_numbers == ("", "52", "52A", "", "-3")
    assert chain.mask[:, CA].tolist() == [False, True, True, False, True]
    assert chain.positions[:, CA, 0].tolist() == [0, 1, 2, 0, 3]
    assert chain.mask.sum() == 3
    assert chain.positions.dtype == chain.b_factors.dtype == np.float32


def test_models():
    atoms = [atom("CA", xyz=(model, 0, 0), pdbx_PDB_model_num=model) for model in (4, 7)]
    text = entry(["GLY"], atoms)
    for model, x in ((1, 4), (2, 7)):
        structure = parse_mmcif(text, source="s", model=model)
        assert structure.num_models == 2
        assert structure.chain("A").positions[0, CA, 0] == x
    for model in (0, 3):
        with pytest.raises(BadDataError, match=f"no model {model}: the file has 2") as caught:
            parse_mmcif(text, source="s", model=model)
        assert caught.value.mend == "ask for a model from 1 to 2"


@pytest.mark.parametrize(
    ("items", "resolution"),
    [
        ("", None),
        ("_refine.ls_d_res_high 2.5\n", 2.5),
        ("_refine.ls_d_res_high 2.5\n_reflns.d_resolution_high 2.4\n", 2.4),
        ("_refine.ls_d_res_high 2.5\n_reflns.d_resolution_high ?\n", 2.5),
        ("_refine.ls_d_res_high 2.5\n_em_3d_reconstruction.resolution 3.5\n", 3.5),
        ("_refine.ls_d_res_high high\n", None),
        ("_refine.ls_d_res_high 0\n", None),
    ],
)
def test_resolution(items, resolution):
    text = entry(["GLY"], [atom("CA")], extra=items)
    assert parse_mmcif(text, source="s").resolution == resolution


def test_release_date_is_the_earliest_revision():
    history = "pdbx_audit_revision_history"
    text = entry(
        ["GLY"],
        [atom("CA")],
        extra=loop(history, ["ordinal", "revision_date"], ["1 2011-07-13", "2 1998-04-08", "3 ?"]),
    )
    assert parse_mmcif(text, source="s").release_date == datetime.date(1998, 4, 8)
    with pytest.raises(BadDataError, match="month") as caught:
        parse_mmcif(text.replace("1998-04", "1998-44"), source="s")
    assert caught.value.field == f"_{history}.revision_date"
    assert "write dates as" in caught.value.mend


def test_an_entry_of_the_pdb_has_a_release_date():
    text = entry(["GLY"], [atom("CA")], extra="_pdbx_database_status.status_code REL\n#\n")
    with pytest.raises(BadDataError, match="has no release date") as caught:
        parse_mmcif(text, source="s")
    assert "cut short, or older than 2017" in caught.value.mend


def test_method():
    extra = loop("exptl", ["method"], ["'X-ray diffraction'", "'NEUTRON DIFFRACTION'"])
    text = entry(["GLY"], [atom("CA")], extra=extra)
    assert parse_mmcif(text, source="s").method == "X-RAY DIFFRACTION, NEUTRON DIFFRACTION"


def test_author_items_that_are_absent_are_those_of_the_label():
    text = entry(["GLY"], [atom("CA")])
    text = text.replace("_atom_site.auth_seq_id", "_atom_site.x")
    text = text.replace("_atom_site.auth_asym_id", "_atom_site.y")
    chain = parse_mmcif(text, source="s").chain("A")
    assert chain.author_numbers == ("1",)


def test_atoms_outside_the_sequence_are_counted():
    structure = parse_mmcif(entry(["GLY"], [atom("CA"), atom("CA", seq=9)]), source="s")
    assert structure.dropped == {"a number outside the sequence": 1}


def test_the_second_chain_of_an_author_id_is_counted():
    atoms = [atom(name) for name in GLYCINE]
    atoms += [atom("CA", label_asym_id="B"), atom("N", label_asym_id="B")]
    text = entry(["GLY"], atoms).replace("\nA 1\n", "\nA 1\nB 1\n")
    structure = parse_mmcif(text, source="s")
    assert [chain.label_id for chain in structure.chains.values()] == ["A"]
    assert structure.dropped == {"a second chain of the same author id": 2}


@pytest.mark.parametrize(
    ("atoms", "wrong"),
    [
        ([atom("CA", xyz=("?", "?", "?"))], "coordinates that are not finite': 1"),
        ([atom("CA", label_asym_id="Z")], "left out: nothing"),
        ([atom("HA2")], "left out: nothing"),
    ],
)
def test_no_coordinates(atoms, wrong):
    with pytest.raises(BadDataError, match="no protein chain has coordinates") as caught:
        parse_mmcif(entry(["GLY"], atoms), source="s.cif")
    assert wrong in str(caught.value)
    assert "leave this entry out" in caught.value.mend


def test_a_coordinate_that_is_no_number_is_named():
    with pytest.raises(BadDataError, match="'1x' is no number") as caught:
        parse_mmcif(entry(["GLY"], [atom("CA", xyz=(1, "1x", 3))]), source="s")
    assert caught.value.field == "_atom_site.Cartn_y"


def test_every_truncation_is_refused(bundled):
    text = (bundled / "mmcif" / "1psm.cif").read_text()
    whole = parse_mmcif(text, source="s")
    assert len(whole.chain("A")) == 38
    end = text.rindex("#")
    cuts = {0, 1, end, end - 1, *range(0, end, 397)}
    # at the ends of lines too, where the syntax alone is whole
    cuts |= {at + 1 for at in range(0, end, 1) if text[at] == "\n" and at % 11 == 0}
    for cut in cuts:
        with pytest.raises(BadDataError, match=r"cut short|write the whole table"):
            parse_mmcif(text[:cut], source="s")


def test_compressed(tmp_path, bundled):
    text = (bundled / "mmcif" / "1psm.cif").read_bytes()
    (tmp_path / "1psm.cif.gz").write_bytes(gzip.compress(text))
    assert read_mmcif(tmp_path / "1psm.cif.gz").entry_id == "1psm"


# entry, model: chain: (residues, resolved residues, atoms)
REAL = {
    "102m": {"A": (154, 154, 1220)},
    "1a8q": {"A": (274, 274, 2143)},
    "1psm": {"A": (38, 38, 285)},
    "1ubq": {"A": (76, 76, 602)},
    "2q2k": {"A": (70, 45, 383), "B": (70, 44, 379)},
    "3u8v": {"A": (93, 83, 622), "B": (93, 83, 622)},
    "5zyh": {"A": (237, 228, 1835)},
    "7zzx": {"B": (204, 202, 1636)},
    "8f9h": {"A": (154, 151, 1198)},
}


@pytest.mark.data
@pytest.mark.parametrize("entry_id", REAL)
def test_real_entries_agree_with_biopython(real_data, entry_id):
    path = real_data / "mmcif" / f"{entry_id}.cif"
    ours = read_mmcif(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = MMCIFParser(QUIET=True).get_structure(entry_id, path)
    model = next(iter(theirs))
    assert ours.num_models == len(theirs)
    assert set(ours.chains) == set(REAL[entry_id])
    assert (ours.resolution or 0) == (theirs.header["resolution"] or 0)
    assert {"X-RAY DIFFRACTION", "SOLUTION NMR"} >= {ours.method}
    for name, chain in ours.chains.items():
        counts = (len(chain), chain.mask.any(axis=1).sum(), chain.mask.sum())
        assert counts == REAL[entry_id][name]
        for row, number in enumerate(chain.author_numbers):
            assert chain.mask[row].any() == bool(number)
            if not number:
                continue
            # a residue of the sequence is that residue in Biopython, atom by atom
            residue = next(
                residue
                for residue in model[name]
                if f"{residue.id[1]}{residue.id[2].strip()}" == number and residue.id[0] != "W"
            )
            for column in np.flatnonzero(chain.mask[row]):
                name_there = ATOM37[column]
                if residue.resname == "MSE" and name_there == "SD":
                    name_there = "SE"
                names = {name_there}
                if residue.resname == "ARG":  # NH1 and NH2 may have been swapped
                    names.add({"NH1": "NH2", "NH2": "NH1"}.get(name_there, name_there))
                there = [residue[each].coord for each in names]
                assert any(np.array_equal(chain.positions[row, column], x) for x in there)


@pytest.mark.data
def test_a_real_entry_cut_between_two_tables_is_whole_or_refused(real_data):
    text = (real_data / "mmcif" / "3u8v.cif").read_text()
    released = parse_mmcif(text, source="s").release_date
    cuts = [match.end() for match in re.finditer(r"^#.*\n", text, re.MULTILINE)]
    refused = 0
    for cut in cuts:
        try:
            structure = parse_mmcif(text[:cut], source="s")
        except BadDataError:
            refused += 1
        else:
            assert structure.release_date == released
    assert 10 < refused < len(cuts)


@pytest.mark.data
def test_nmr_models_differ(real_data):
    path = real_data / "mmcif" / "1psm.cif"
    first, last = (read_mmcif(path, model=model) for model in (1, 20))
    assert first.num_models == last.num_models == 20
    assert first.resolution is None
    assert first.release_date == datetime.date(1995, 2, 7)
    shift = first.chain("A").positions[:, CA] - last.chain("A").positions[:, CA]
    assert np.abs(shift).max() > 1


@pytest.mark.data
def test_a_dna_complex_gives_its_proteins_only(real_data):
    structure = read_mmcif(real_data / "mmcif" / "2q2k.cif")
    assert {name: chain.label_id for name, chain in structure.chains.items()} == {
        "A": "B",
        "B": "C",
    }
    assert structure.resolution == 3.0
