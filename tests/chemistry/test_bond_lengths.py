from typing import Any

from sci_memeff.chemistry.atoms import RESIDUE_ATOMS
from sci_memeff.chemistry.bond_lengths import RESIDUE_BONDS
from sci_memeff.chemistry.residues import THREE_LETTERS

RINGS = {"HIS": 1, "PHE": 1, "PRO": 1, "TRP": 2, "TYR": 1}


def test_bonds_hold_each_residue_together() -> None:
    assert tuple(RESIDUE_BONDS) == THREE_LETTERS
    for three, bonds in RESIDUE_BONDS.items():
        atoms = RESIDUE_ATOMS[three]
        assert len({frozenset(bond[:2]) for bond in bonds}) == len(bonds)
        assert len(bonds) == len(atoms) - 1 + RINGS.get(three, 0)
        reached = {"N"}
        for _ in atoms:
            reached |= {end for bond in bonds for end in bond[:2] if reached & set(bond[:2])}
        assert reached == set(atoms)


def test_lengths_are_those_of_covalent_bonds() -> None:
    for bonds in RESIDUE_BONDS.values():
        for bond in bonds:
            assert 1.2 < bond.length < 1.85
            assert 0.01 <= bond.stddev < 0.07


def test_agrees_with_the_published_lengths(published: dict[str, Any]) -> None:
    for three, bonds in RESIDUE_BONDS.items():
        assert sorted(map(tuple, published["residue_bonds"][three])) == sorted(bonds)
