import math

import pytest
import torch

from sci_memeff.alphafold.geometry import frames_to_atom14, torsions_to_frames
from sci_memeff.alphafold.losses import ViolationLoss
from sci_memeff.chemistry import CA_C_N_COSINE_STDDEV, RESIDUE_ATOMS, RESTYPES

from .structures import (
    ideal_backbone,
    ideal_peptide,
    ideal_torsions,
    peptide_features,
    place,
    sequence,
)

ALL = RESTYPES + "PPGPK"
N, C = 0, 2  # columns


def test_ideal_geometry_costs_nothing():
    for chi in (-60.0, 60.0):
        positions, batch = ideal_peptide(ALL, chi)
        loss = ViolationLoss()
        assert loss(positions, batch) == 0.0


@pytest.mark.parametrize(
    ("letters", "length", "stddev"), [("GG", 1.329, 0.014), ("GP", 1.341, 0.016)]
)
@pytest.mark.parametrize("stretch", [-0.6, 0.5])
def test_a_stretched_peptide_bond_costs_what_exceeds_twelve_deviations(
    letters, length, stddev, stretch
):
    positions, batch = ideal_peptide(letters)
    bond = positions[1, N] - positions[0, C]
    positions[1] += stretch * bond / bond.norm()
    found = ViolationLoss().find(positions, batch)
    expected = abs(float(bond.norm()) + stretch - length) - 12 * stddev
    torch.testing.assert_close(float(found.connection[0]), expected, rtol=1e-4, atol=0.0)
    assert found.connection[1:].tolist() == [0.0, 0.0]


def test_a_bond_across_a_gap_or_to_a_missing_atom_is_none():
    positions, batch = ideal_peptide("GGG")
    positions[1:] += 5.0
    batch["residue_index"] = torch.tensor([3, 7, 8])
    assert ViolationLoss().find(positions, batch).connection.sum() == 0.0
    batch["residue_index"] = torch.arange(3)
    assert ViolationLoss().find(positions, batch).connection.sum() > 1.0
    batch["atom14_atom_exists"][1, N] = 0.0
    assert ViolationLoss().find(positions, batch).connection.sum() == 0.0


def bent(**cosines: float) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    aatype = sequence("GG")
    groups = torsions_to_frames(ideal_backbone(aatype, **cosines), ideal_torsions(aatype), aatype)
    return frames_to_atom14(groups, aatype), peptide_features(aatype)


@pytest.mark.parametrize(
    ("which", "name", "mean", "stddev"),
    [(1, "ca_c_n", -0.4473, 0.0311), (2, "c_n_ca", -0.5203, 0.0353)],
)
@pytest.mark.parametrize("bend", [-0.45, 0.6])
def test_a_bent_angle_costs_what_exceeds_twelve_deviations(which, name, mean, stddev, bend):
    found = ViolationLoss().find(*bent(**{name: mean + bend}))
    expected = torch.zeros(3, dtype=torch.float64)
    expected[which] = abs(bend) - 12 * stddev
    torch.testing.assert_close(found.connection, expected, rtol=1e-3, atol=1e-12)


def test_the_angle_at_c_is_judged_by_its_own_deviation():
    assert 12 * 0.014 < 0.3 < 12 * CA_C_N_COSINE_STDDEV  # 0.014 Å is the bond's
    assert ViolationLoss().find(*bent(ca_c_n=-0.4473 + 0.3)).connection.sum() == 0.0


def lone_atoms(
    letters: str, atoms: list[str], distance: float
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Two neighbours with one atom each, this far apart."""
    batch = peptide_features(sequence(letters))
    positions = torch.zeros(2, 14, 3, dtype=torch.float64)
    batch["atom14_atom_exists"].zero_()
    for i, (letter, name) in enumerate(zip(letters, atoms, strict=True)):
        three = {"G": "GLY", "C": "CYS", "M": "MET", "A": "ALA"}[letter]
        column = RESIDUE_ATOMS[three].index(name)
        batch["atom14_atom_exists"][i, column] = 1.0
        positions[i, column, 0] = i * distance
    return positions, batch


@pytest.mark.parametrize(
    ("letters", "atoms", "overlap"),
    [
        ("GG", ["CA", "CA"], 1.7 + 1.7 - 1.5 - 1.2),
        ("GG", ["O", "N"], 1.52 + 1.55 - 1.5 - 1.2),
        ("CG", ["SG", "O"], 1.8 + 1.52 - 1.5 - 1.2),
        ("GG", ["C", "N"], 0.0),  # a peptide bond
        ("GG", ["N", "C"], 1.7 + 1.55 - 1.5 - 1.2),  # none the other way round
        ("CC", ["SG", "SG"], 0.0),  # a sulphur bridge
    ],
)
def test_a_clash_costs_both_atoms_their_overlap(letters, atoms, overlap):
    positions, batch = lone_atoms(letters, atoms, distance=1.2)
    loss = ViolationLoss()
    found = loss.find(positions, batch)
    each = found.clashes.sum(-1)
    torch.testing.assert_close(each, torch.full((2,), overlap).double(), rtol=0, atol=1e-7)
    # Two atoms in all; a bond of 1.2 Å is within the tolerance of the peptide bond.
    torch.testing.assert_close(float(loss(positions, batch)), overlap, rtol=0, atol=1e-7)


@pytest.mark.parametrize("distance", [1.0, 1.5, 2.5])
def test_a_bond_within_a_residue_has_two_bounds(distance):
    positions, batch = lone_atoms("AA", ["CA", "CB"], distance)
    positions[0, 4, 0] = distance  # CB of the residue whose CA is at 0
    batch["atom14_atom_exists"][0, 4] = 1.0
    batch["atom14_atom_exists"][1] = 0.0
    excess = max(0.0, abs(distance - 1.520) - 12 * 0.021)
    found = ViolationLoss().find(positions, batch)
    torch.testing.assert_close(found.within.sum(), torch.tensor(4 * excess).double())


def test_tolerances_are_settings():
    positions, batch = lone_atoms("GG", ["CA", "CA"], distance=1.2)
    clash = ViolationLoss(clash_tolerance=2.0).find(positions, batch).clashes
    torch.testing.assert_close(float(clash.sum()), 2 * 0.2, rtol=0, atol=1e-7)
    positions, batch = ideal_peptide("GG")
    positions[1] += 0.1 * (positions[1, N] - positions[0, C])
    assert ViolationLoss().find(positions, batch).connection[0] == 0.0
    assert ViolationLoss(bond_tolerance=2.0).find(positions, batch).connection[0] > 0.0


def test_a_single_residue_has_no_bond():
    positions, batch = ideal_peptide("A")
    assert ViolationLoss()(positions, batch) == 0.0


def test_place_makes_what_it_says():
    a, b, c = torch.eye(3, dtype=torch.float64)
    d = place(a, b, c, 1.5, -0.3, 40.0)
    torch.testing.assert_close(float((d - c).norm()), 1.5)
    torch.testing.assert_close(float((b - c) @ (d - c)) / 1.5 / math.sqrt(2), -0.3)
