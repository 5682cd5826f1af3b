from typing import Any

import numpy as np

from sci_memeff.chemistry import ambiguity as a
from sci_memeff.chemistry.atoms import RESTYPE_ATOM14
from sci_memeff.chemistry.bond_lengths import RESIDUE_BONDS
from sci_memeff.chemistry.ideal_positions import CHI1
from sci_memeff.chemistry.residues import RESTYPE_INDEX, THREE_TO_ONE
from sci_memeff.chemistry.torsions import CHI_PI_PERIODIC


def test_swapping_twice_changes_nothing() -> None:
    twice = np.take_along_axis(a.ATOM14_SWAP, a.ATOM14_SWAP, axis=-1)
    np.testing.assert_array_equal(twice, np.tile(np.arange(14), (21, 1)))
    assert a.ATOM14_AMBIGUOUS.sum() == 2 + 2 + 4 + 4


def test_swapped_atoms_have_swapped_neighbours() -> None:
    for three, pairs in a.SWAPPED_ATOMS.items():
        other = dict(pairs) | {second: first for first, second in pairs}
        bonds = {frozenset(bond[:2]): bond[2:] for bond in RESIDUE_BONDS[three]}
        for ends, numbers in bonds.items():
            assert bonds[frozenset(other.get(end, end) for end in ends)] == numbers


def test_ambiguous_groups_turn_by_pi() -> None:
    np.testing.assert_array_equal(a.GROUP_AMBIGUOUS[:, CHI1:], CHI_PI_PERIODIC)
    assert not a.GROUP_AMBIGUOUS[:, :CHI1].any()


def test_agrees_with_the_published_swaps(published: dict[str, Any]) -> None:
    pairs = {three: dict(swaps) for three, swaps in a.SWAPPED_ATOMS.items()}
    assert published["residue_atom_renaming_swaps"] == pairs
    for three, swaps in pairs.items():
        restype = RESTYPE_INDEX[THREE_TO_ONE[three]]
        names = RESTYPE_ATOM14[restype]
        for first, second in swaps.items():
            i, j = names.index(first), names.index(second)
            assert (a.ATOM14_SWAP[restype, i], a.ATOM14_SWAP[restype, j]) == (j, i)
