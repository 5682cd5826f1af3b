import numpy as np
import pytest

from sci_memeff.chemistry import ATOM37_INDEX, CHI_ATOM37, CHI_MASK, CHI_PI_PERIODIC
from sci_memeff.data.features.torsions import torsion_angles

N, CA, C, O = (ATOM37_INDEX[name] for name in ("N", "CA", "C", "O"))  # noqa: E741


def dihedral(a, b, c, d):
    """The textbook formula, IUPAC sign."""
    one, two, three = b - a, c - b, d - c
    x, y = np.cross(one, two), np.cross(two, three)
    return np.arctan2(np.linalg.norm(two) * one @ y, x @ y)


@pytest.fixture
def chain():
    rng = np.random.default_rng(0)
    aatype = rng.permutation(np.append(np.arange(21), 21))  # X and a gap among them
    mask = (rng.random((22, 37)) < 0.9).astype(np.float32)
    assert set(np.unique(mask)) == {0.0, 1.0}
    positions = rng.normal(size=(22, 37, 3)).astype(np.float32) * 3
    return aatype, positions, mask


def test_torsions_by_the_textbook(chain):
    aatype, positions, mask = chain
    found = torsion_angles(aatype, positions, mask)
    angles, known = found["torsion_angles_sin_cos"], found["torsion_angles_mask"]
    assert set(np.unique(known)) == {0.0, 1.0}
    for residue, restype in enumerate(np.minimum(aatype, 20)):
        before = residue - 1
        quadruples = [
            [(before, CA), (before, C), (residue, N), (residue, CA)],
            [(before, C), (residue, N), (residue, CA), (residue, C)],
            [(residue, N), (residue, CA), (residue, C), (residue, O)],
            *([(residue, atom) for atom in atoms] for atoms in CHI_ATOM37[restype]),
        ]
        exists = [residue > 0, residue > 0, True, *(CHI_MASK[restype] > 0)]
        for torsion, (atoms, there) in enumerate(zip(quadruples, exists, strict=True)):
            there = there and all(mask[atom] for atom in atoms)
            assert known[residue, torsion] == there
            if there:
                angle = dihedral(*(positions[atom].astype(np.float64) for atom in atoms))
                sign = -1.0 if torsion == 2 else 1.0
                expected = [sign * np.sin(angle), sign * np.cos(angle)]
                assert angles[residue, torsion] == pytest.approx(expected, abs=1e-5)


def test_the_other_naming_turns_periodic_torsions_by_pi(chain):
    aatype, *_ = chain
    found = torsion_angles(*chain)
    truth = found["torsion_angles_sin_cos"]
    other = found["alt_torsion_angles_sin_cos"]
    turned = np.zeros(truth.shape[:2], bool)
    turned[:, 3:] = CHI_PI_PERIODIC[np.minimum(aatype, 20)] > 0
    assert turned.sum() == 4
    assert np.array_equal(other[turned], -truth[turned])
    assert np.array_equal(other[~turned], truth[~turned])


def test_leading_axes_are_templates(chain):
    aatype, positions, mask = chain
    one = torsion_angles(*chain)
    two = torsion_angles(*(np.stack([value, value]) for value in (aatype, positions, mask)))
    for name, value in one.items():
        assert value.dtype == np.float32
        assert np.array_equal(two[name][1], value)


def test_nothing_known_gives_no_nan():
    found = torsion_angles(
        np.array([20, 0]), np.zeros((2, 37, 3), np.float32), np.zeros((2, 37), np.float32)
    )
    assert not any(value.any() for value in found.values())
