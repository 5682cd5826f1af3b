import math
from typing import Any

import numpy as np
import pytest

from sci_memeff.chemistry.atoms import RESIDUE_ATOMS
from sci_memeff.chemistry.bond_lengths import RESIDUE_BONDS
from sci_memeff.chemistry.ideal_positions import BACKBONE, CHI1, IDEAL_POSITIONS, PSI
from sci_memeff.chemistry.residues import THREE_LETTERS
from sci_memeff.chemistry.torsions import CHI_ATOMS


def test_every_atom_has_a_place() -> None:
    assert tuple(IDEAL_POSITIONS) == THREE_LETTERS
    for three, rows in IDEAL_POSITIONS.items():
        assert tuple(rows) == RESIDUE_ATOMS[three]
        assert rows["CA"] == (BACKBONE, 0.0, 0.0, 0.0)
        assert rows["O"][0] == PSI
        assert rows["C"][2:] == (0.0, 0.0)
        assert rows["N"][3] == 0.0


def test_the_atom_that_defines_a_torsion_is_in_the_upper_half_plane() -> None:
    for three, chis in CHI_ATOMS.items():
        for chi, (*_, last) in enumerate(chis):
            group, _, y, z = IDEAL_POSITIONS[three][last]
            assert group == CHI1 + chi
            assert y > 0
            assert z == 0


@pytest.mark.parametrize("three", THREE_LETTERS)
def test_bonds_within_a_group_have_their_length(three: str) -> None:
    rows = IDEAL_POSITIONS[three]
    within = [bond for bond in RESIDUE_BONDS[three] if rows[bond.first][0] == rows[bond.second][0]]
    assert len(within) >= 2
    for bond in within:
        length = math.dist(rows[bond.first][1:], rows[bond.second][1:])
        assert abs(length - bond.length) < 4 * bond.stddev, bond


def test_agrees_with_the_published_positions(published: dict[str, Any]) -> None:
    for three, rows in published["rigid_group_atom_positions"].items():
        assert len(rows) == len(IDEAL_POSITIONS[three])
        for name, group, xyz in rows:
            ours = IDEAL_POSITIONS[three][name]
            assert ours[0] == group
            np.testing.assert_array_equal(ours[1:], xyz)
