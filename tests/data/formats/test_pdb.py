import gzip

import numpy as np
import pytest

from sci_memeff.chemistry import ATOM37_INDEX
from sci_memeff.data.formats.pdb import parse_pdb, read_pdb
from sci_memeff.errors import BadDataError

CA = ATOM37_INDEX["CA"]


def line(
    name: str,
    residue: str,
    number: str,
    x: float,
    *,
    record: str = "ATOM",
    alternate: str = " ",
    chain: str = "A",
    b_factor: float = 80.0,
    occupancy: float = 1.0,
) -> str:
    """One atom; `number` has its insertion code or a space behind it."""
    return (
        f"{record:6s}    1  {name:3s}{alternate}{residue} {chain}{number:>5s}   "
        f"{x:8.3f}{0:8.3f}{0:8.3f}{occupancy:6.2f}{b_factor:6.2f}          {name[0]:>2s}\n"
    )


def residue(name: str, number: str, x: float, **changes) -> str:
    return "".join(
        line(atom, name, number, x + at, **changes) for at, atom in enumerate(("N", "CA", "C", "O"))
    )


def parse(text: str, **model):
    return parse_pdb(text, source="s.pdb", entry_id="s", **model)


def test_prediction():
    text = residue("MET", "1 ", 0, b_factor=91.5) + residue("GLY", "2 ", 10) + "END\n"
    structure = parse(text)
    chain = structure.chain("A")
    assert (structure.entry_id, structure.resolution, structure.release_date) == ("s", None, None)
    assert chain.sequence == "MG"
    assert chain.label_id == "A"
    assert chain.author_numbers == ("1", "2")
    assert chain.positions[:, CA, 0].tolist() == [1, 11]
    assert chain.b_factors[:, CA].tolist() == [91.5, 80]
    assert chain.mask.sum() == 8


def test_seqres_gives_the_residues_that_are_not_resolved():
    text = "SEQRES   1 A    5  MET ALA GLY LYS SER\n"
    text += residue("ALA", "2 ", 0) + residue("GLY", "3 ", 10) + residue("SER", "5 ", 20) + "TER\n"
    chain = parse(text).chain("A")
    assert chain.sequence == "MAGKS"
    assert chain.author_numbers == ("", "2", "3", "", "5")


def test_insertion_codes_alternates_and_selenomethionine():
    text = residue("ALA", "52 ", 0)
    text += line("CA", "GLY", "52A", 5, alternate="A", occupancy=0.4)
    text += line("CA", "GLY", "52A", 6, alternate="B", occupancy=0.6)
    text += residue("MSE", "53 ", 10, record="HETATM")
    text += line("SE", "MSE", "53 ", 20, record="HETATM")
    text += residue("ALA", "54 ", 30) + "TER\n"
    structure = parse(text)
    chain = structure.chain("A")
    assert chain.sequence == "AGMA"
    assert chain.author_numbers == ("52", "52A", "53", "54")
    assert chain.positions[1, CA, 0] == 6
    assert chain.positions[2, ATOM37_INDEX["SD"], 0] == 20
    assert structure.dropped == {"another alternate location": 1}


def test_models_and_chains():
    text = "MODEL        1\n" + residue("ALA", "1 ", 0) + residue("ALA", "1 ", 5, chain="B")
    text += "ENDMDL\nMODEL        2\n" + residue("ALA", "1 ", 9) + "ENDMDL\nEND\n"
    assert set(parse(text).chains) == {"A", "B"}
    second = parse(text, model=2)
    assert second.num_models == 2
    assert second.chain("A").positions[0, CA, 0] == 10
    with pytest.raises(BadDataError, match="no model 3: the file has 2") as caught:
        parse(text, model=3)
    assert "from 1 to 2" in caught.value.mend


@pytest.mark.parametrize(
    ("text", "line_number", "wrong", "mend"),
    [
        ("nothing\n", None, "no protein chain|no model 1", "ATOM lines"),
        (
            line("O", "HOH", "1 ", 0, record="HETATM") + "END\n",
            None,
            "no protein chain",
            "ATOM lines",
        ),
        (residue("ALA", "1 ", 0)[:-60], 4, "field x.* is no number", "columns of the PDB"),
        (residue("ALA", "1 ", 0).replace("80.00", "eight"), 1, "B-factor", "columns of the PDB"),
        ("MODEL        1\n" + residue("ALA", "1 ", 0), 1, "never ends", "add ENDMDL"),
        (
            residue("ALA", "1 ", 0) + "\n \n",
            4,
            "ends in an atom",
            "cut short; if it is whole, add END",
        ),
    ],
)
def test_refuses(text, line_number, wrong, mend):
    with pytest.raises(BadDataError, match=wrong) as caught:
        parse(text)
    assert caught.value.line == line_number
    assert mend in caught.value.mend


def test_the_name_of_the_file_is_the_name_of_the_entry(tmp_path):
    path = tmp_path / "6kwc_A.pdb.gz"
    path.write_bytes(gzip.compress((residue("ALA", "1 ", 0) + "TER\n").encode()))
    assert read_pdb(path).entry_id == "6kwc_A"


def test_every_truncation_of_the_atoms_is_refused():
    atoms = residue("ALA", "1 ", 0) + residue("GLY", "2 ", 9)
    whole = atoms + "TER\nEND\n"
    assert len(parse(whole).chain("A")) == 2
    for cut in range(1, len(atoms) + 1):
        with pytest.raises(BadDataError):
            parse(whole[:cut])


@pytest.mark.data
def test_real_prediction(real_data):
    structure = read_pdb(real_data / "predicted" / "6kwc_A.pdb")
    chain = structure.chain("A")
    query = (real_data / "alignments/6kwc_A/bfd_uniref_hits.a3m").read_text().split("\n")[1]
    assert chain.sequence == query
    assert chain.mask.any(axis=1).all()
    assert chain.mask.sum() == 1482
    assert 0 < chain.b_factors[chain.mask].min() < chain.b_factors.max() <= 100
    # one pLDDT for all atoms of a residue
    spread = [np.ptp(chain.b_factors[row][chain.mask[row]]) for row in range(len(chain))]
    assert max(spread) == 0
