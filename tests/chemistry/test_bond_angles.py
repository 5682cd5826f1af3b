import math
from typing import Any

from sci_memeff.chemistry.bond_angles import RESIDUE_ANGLES
from sci_memeff.chemistry.bond_lengths import RESIDUE_BONDS
from sci_memeff.chemistry.residues import THREE_LETTERS


def test_every_angle_lies_between_two_bonds() -> None:
    assert tuple(RESIDUE_ANGLES) == THREE_LETTERS
    for three, angles in RESIDUE_ANGLES.items():
        bonded = {frozenset(bond[:2]) for bond in RESIDUE_BONDS[three]}
        assert len({(frozenset((a.first, a.last)), a.middle) for a in angles}) == len(angles)
        for angle in angles:
            assert frozenset((angle.first, angle.middle)) in bonded
            assert frozenset((angle.middle, angle.last)) in bonded
            assert math.radians(100) < angle.angle < math.radians(135)
            assert math.radians(0.4) < angle.stddev < math.radians(4)


def test_angles_around_a_planar_atom_fill_the_circle() -> None:
    for three, middle in [("ASN", "CG"), ("ASP", "CG"), ("ARG", "CZ"), ("PHE", "CG")]:
        around = [a.angle for a in RESIDUE_ANGLES[three] if a.middle == middle]
        assert len(around) == 3
        assert abs(math.degrees(sum(around)) - 360) < 0.5


def test_agrees_with_the_published_angles(published: dict[str, Any]) -> None:
    for three, angles in RESIDUE_ANGLES.items():
        assert sorted(map(tuple, published["residue_bond_angles"][three])) == sorted(angles)
