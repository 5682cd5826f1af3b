import itertools
from typing import Any

import numpy as np

from sci_memeff.chemistry import torsions as t
from sci_memeff.chemistry.atoms import ATOM37, ATOM37_MASK
from sci_memeff.chemistry.bond_lengths import RESIDUE_BONDS
from sci_memeff.chemistry.residues import THREE_LETTERS, UNKNOWN


def test_each_torsion_follows_bonds() -> None:
    for three, chis in t.CHI_ATOMS.items():
        bonded = {frozenset(bond[:2]) for bond in RESIDUE_BONDS[three]}
        for chi in chis:
            for pair in itertools.pairwise(chi):
                assert frozenset(pair) in bonded, (three, chi)
        for before, after in itertools.pairwise(chis):
            assert before[1:] == after[:3]


def test_arrays_spell_the_names() -> None:
    for restype, three in enumerate(THREE_LETTERS):
        assert t.CHI_MASK[restype].sum() == len(t.CHI_ATOMS[three])
        for chi, names in enumerate(t.CHI_ATOMS[three]):
            assert t.CHI_MASK[restype, chi] == 1
            assert tuple(ATOM37[index] for index in t.CHI_ATOM37[restype, chi]) == names
            assert ATOM37_MASK[restype, t.CHI_ATOM37[restype, chi]].all()
    assert not t.CHI_MASK[UNKNOWN].any()
    assert not t.CHI_ATOM37[t.CHI_MASK == 0].any()


def test_only_existing_torsions_are_periodic() -> None:
    assert t.CHI_PI_PERIODIC.sum() == 4
    assert (t.CHI_PI_PERIODIC <= t.CHI_MASK).all()


def test_agrees_with_the_published_torsions(published: dict[str, Any]) -> None:
    names = {three: [list(chi) for chi in chis] for three, chis in t.CHI_ATOMS.items()}
    assert published["chi_angles_atoms"] == names
    np.testing.assert_array_equal(published["chi_angles_mask"], t.CHI_MASK[:UNKNOWN])
    np.testing.assert_array_equal(published["chi_pi_periodic"], t.CHI_PI_PERIODIC)
