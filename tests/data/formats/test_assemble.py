import numpy as np
import pytest

from sci_memeff.chemistry import ATOM37_INDEX
from sci_memeff.data.formats.mmcif import parse_mmcif
from sci_memeff.data.formats.structure import Structure

from .entries import atom, entry


def read(residues: list[str], atoms: list[str]) -> Structure:
    return parse_mmcif(entry(residues, atoms), source="s")


def where(structure: Structure, name: str, row: int = 0) -> list[float]:
    return structure.chain("A").positions[row, ATOM37_INDEX[name]].tolist()


def test_selenium_stands_for_sulphur_in_selenomethionine_only():
    structure = read(
        ["MSE", "GLY"], [atom("SE", "MSE", 1, (1, 1, 1)), atom("SE", seq=2), atom("CA", seq=2)]
    )
    chain = structure.chain("A")
    assert chain.sequence == "MG"
    assert where(structure, "SD") == [1, 1, 1]
    assert chain.mask.sum() == 2


@pytest.mark.parametrize(("far", "swapped"), [("NH1", True), ("NH2", False)])
def test_arginine_keeps_nh1_nearer_to_cd(far, swapped):
    near = "NH2" if far == "NH1" else "NH1"
    atoms = [
        atom("CD", "ARG", xyz=(0, 0, 0)),
        atom(near, "ARG", xyz=(1, 0, 0), B_iso_or_equiv="5"),
        atom(far, "ARG", xyz=(2, 0, 0), B_iso_or_equiv="7"),
    ]
    structure = read(["ARG"], atoms)
    assert where(structure, "NH1") == [1, 0, 0]
    assert where(structure, "NH2") == [2, 0, 0]
    b_factors = structure.chain("A").b_factors[0]
    assert b_factors[ATOM37_INDEX["NH1"]] == 5
    assert (far == "NH1") == swapped


def test_an_arginine_without_nh2_is_left_alone():
    atoms = [atom("CD", "ARG", xyz=(0, 0, 0)), atom("NH1", "ARG", xyz=(9, 0, 0))]
    assert where(read(["ARG"], atoms), "NH1") == [9, 0, 0]


def alternates(occupancies: dict[str, float]) -> list[str]:
    """CB and OG of a serine in each location, x the location's place in the list."""
    return [
        atom(name, "SER", xyz=(x, 0, 0), label_alt_id=label, occupancy=occupancy)
        for x, (label, occupancy) in enumerate(occupancies.items())
        for name in ("CB", "OG")
    ]


@pytest.mark.parametrize(
    ("occupancies", "kept"),
    [({"A": 0.4, "B": 0.6}, 1), ({"A": 0.5, "B": 0.5}, 0), ({"B": 0.5, "A": 0.5}, 0)],
)
def test_the_alternate_with_the_highest_occupancy_or_the_first(occupancies, kept):
    structure = read(["SER"], [atom("CA", "SER", xyz=(7, 7, 7)), *alternates(occupancies)])
    assert where(structure, "CB") == where(structure, "OG") == [kept, 0, 0]
    assert where(structure, "CA") == [7, 7, 7]
    assert structure.dropped == {"another alternate location": 2}


def test_one_location_for_the_whole_residue():
    # atom by atom, CB would be of A and OG of B; together they would be no conformation at all
    atoms = [
        atom("CB", "SER", xyz=(1, 0, 0), label_alt_id="A", occupancy=0.55),
        atom("CB", "SER", xyz=(2, 0, 0), label_alt_id="B", occupancy=0.45),
        atom("OG", "SER", xyz=(1, 1, 0), label_alt_id="A", occupancy=0.3),
        atom("OG", "SER", xyz=(2, 1, 0), label_alt_id="B", occupancy=0.7),
    ]
    structure = read(["SER"], atoms)
    assert where(structure, "CB") == [2, 0, 0]
    assert where(structure, "OG") == [2, 1, 0]


def test_an_atom_that_lacks_the_location_keeps_its_own():
    atoms = [
        *alternates({"A": 0.7, "B": 0.3}),
        atom("N", "SER", xyz=(5, 5, 5), label_alt_id="B", occupancy=0.3),
    ]
    structure = read(["SER"], atoms)
    assert where(structure, "N") == [5, 5, 5]
    assert where(structure, "CB") == [0, 0, 0]


@pytest.mark.parametrize("bad", ["?", ".", "nan", "inf", "1e99"])
def test_coordinates_that_are_not_finite_are_left_out_and_counted(bad):
    structure = read(["GLY"], [atom("N", xyz=(1, bad, 3)), atom("CA")])
    chain = structure.chain("A")
    assert chain.mask.sum() == 1
    assert np.isfinite(chain.positions).all()
    assert structure.dropped == {"coordinates that are not finite": 1}


def test_atoms_that_have_no_column_are_not_read():
    structure = read(["GLY"], [atom("CA"), atom("HA2"), atom("OXT", xyz=(4, 4, 4))])
    assert structure.chain("A").mask.sum() == 2
    assert where(structure, "OXT") == [4, 4, 4]
    assert structure.dropped == {}


def test_unknown_b_factors_and_occupancies():
    atoms = [atom("CA", B_iso_or_equiv="?", occupancy="?"), atom("N", B_iso_or_equiv="12.5")]
    chain = read(["GLY"], atoms).chain("A")
    assert chain.b_factors[0, ATOM37_INDEX["CA"]] == 0
    assert chain.b_factors[0, ATOM37_INDEX["N"]] == 12.5


def test_a_residue_that_atoms_name_otherwise_keeps_its_atoms():
    # a file may call the residue MSE in the sequence and MET in the coordinates
    structure = read(["MSE"], [atom("CA", "MET"), atom("SD", "MET", xyz=(8, 8, 8))])
    assert where(structure, "SD") == [8, 8, 8]
    assert structure.dropped == {}
