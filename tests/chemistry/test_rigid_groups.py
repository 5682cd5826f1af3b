import numpy as np
import pytest

from sci_memeff.chemistry import rigid_groups as g
from sci_memeff.chemistry.atoms import ATOM14_MASK, ATOM37, RESTYPE_ATOM14
from sci_memeff.chemistry.bond_lengths import RESIDUE_BONDS
from sci_memeff.chemistry.ideal_positions import BACKBONE, CHI1, PHI, PRE_OMEGA, PSI
from sci_memeff.chemistry.residues import THREE_LETTERS, UNKNOWN
from sci_memeff.chemistry.stereochemistry import atom14_distance_bounds
from sci_memeff.chemistry.torsions import CHI_MASK


def frames_in_backbone(restype: int) -> np.ndarray:
    """The eight default frames, those of χ2 to χ4 chained back to the backbone."""
    frames = g.DEFAULT_FRAMES[restype].astype(np.float64)
    for group in range(CHI1 + 1, CHI1 + 4):
        frames[group] = frames[group - 1] @ frames[group]
    return frames


def built(restype: int) -> dict[str, np.ndarray]:
    """Atoms of a residue whose torsions are all zero."""
    frames = frames_in_backbone(restype)[g.ATOM14_GROUP[restype]]
    points = frames[:, :3, :3] @ g.ATOM14_POSITIONS[restype][:, :, None]
    places = points[..., 0] + frames[:, :3, 3]
    return {name: xyz for name, xyz in zip(RESTYPE_ATOM14[restype], places, strict=True) if name}


def dihedral(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> float:
    axis = (c - b) / np.linalg.norm(c - b)
    u, v = (a - b) - (a - b) @ axis * axis, (d - c) - (d - c) @ axis * axis
    return float(np.arctan2(np.cross(axis, u) @ v, u @ v))


def test_frame_matrix_is_a_rotation_with_its_axes() -> None:
    x, plane, origin = np.array([0.0, 3.0, 0.0]), np.array([0.0, 1.0, -2.0]), np.arange(3.0)
    frame = g.frame_matrix(x, plane, origin)
    rotation = frame[:3, :3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-15)
    assert np.linalg.det(rotation) == pytest.approx(1)
    np.testing.assert_allclose(rotation @ [1, 0, 0], [0, 1, 0], atol=1e-15)
    np.testing.assert_allclose(rotation @ [0, 1, 0], [0, 0, -1], atol=1e-15)
    np.testing.assert_array_equal(frame[:3, 3], origin)


def test_existing_frames_are_rigid_and_the_rest_are_zero() -> None:
    exists = g.GROUP_EXISTS.copy()
    exists[:UNKNOWN, [PRE_OMEGA, PHI]] = 1
    exists[UNKNOWN] = 0
    rotations = g.DEFAULT_FRAMES[..., :3, :3]
    products = rotations @ rotations.swapaxes(-1, -2)
    np.testing.assert_allclose(products, exists[..., None, None] * np.eye(3), atol=1e-6)
    np.testing.assert_allclose(np.linalg.det(rotations), exists, atol=1e-6)
    np.testing.assert_array_equal(g.DEFAULT_FRAMES[..., 3, 3], exists)


def test_groups_that_exist() -> None:
    assert g.GROUP_EXISTS[:, [BACKBONE, PSI]].all()
    assert not g.GROUP_EXISTS[:, [PRE_OMEGA, PHI]].any()
    np.testing.assert_array_equal(g.GROUP_EXISTS[:, CHI1:], CHI_MASK)


@pytest.mark.parametrize("restype", range(UNKNOWN), ids=THREE_LETTERS)
def test_zero_torsions_build_an_ideal_residue(restype: int) -> None:
    atoms = built(restype)
    assert len(atoms) == ATOM14_MASK[restype].sum()
    for first, second, length, stddev in RESIDUE_BONDS[THREE_LETTERS[restype]]:
        if {first, second} == {"CD", "N"}:
            continue  # proline's ring closes only at its own χ1 and χ2
        assert abs(np.linalg.norm(atoms[first] - atoms[second]) - length) < 5 * stddev


@pytest.mark.parametrize("restype", range(UNKNOWN), ids=THREE_LETTERS)
def test_zero_torsions_keep_every_bond_and_angle(restype: int) -> None:
    lower, upper, stddev = atom14_distance_bounds(1.5, 12.0)
    atoms, names = built(restype), RESTYPE_ATOM14[restype]
    tied = np.argwhere(stddev[restype] > 0)
    assert len(tied) >= 10
    for i, j in tied:
        if THREE_LETTERS[restype] == "PRO" and "CD" in (names[i], names[j]):
            continue
        distance = np.linalg.norm(atoms[names[i]] - atoms[names[j]])
        assert lower[restype, i, j] < distance < upper[restype, i, j], (names[i], names[j])


@pytest.mark.parametrize("restype", range(UNKNOWN), ids=THREE_LETTERS)
def test_zero_torsions_are_zero(restype: int) -> None:
    atoms = built(restype)
    assert dihedral(*(atoms[name] for name in ("N", "CA", "C", "O"))) == pytest.approx(np.pi)
    for chi in np.flatnonzero(CHI_MASK[restype]):
        three = [ATOM37[index] for index in g.GROUP_ATOM37[restype, CHI1 + chi]]
        first = "N" if chi == 0 else ATOM37[g.GROUP_ATOM37[restype, CHI1 + chi - 1, 0]]
        angle = dihedral(*(atoms[name] for name in (first, *three)))
        assert angle == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("restype", range(UNKNOWN), ids=THREE_LETTERS)
def test_three_atoms_recover_each_frame(restype: int) -> None:
    atoms, frames = built(restype), frames_in_backbone(restype)
    for group in np.flatnonzero(g.GROUP_EXISTS[restype]):
        names = [ATOM37[index] for index in g.GROUP_ATOM37[restype, group]]
        before, origin, plane = (atoms[name] for name in names)
        frame = g.frame_matrix(origin - before, plane - origin, origin)
        if group == BACKBONE:
            frame = frame @ np.diag([-1.0, 1.0, -1.0, 1.0])
        np.testing.assert_allclose(frame, frames[group], atol=1e-6)


def test_left_handed_amino_acids() -> None:
    for restype, three in enumerate(THREE_LETTERS):
        if three != "GLY":
            atoms = built(restype)
            n, c, cb = (atoms[name] - atoms["CA"] for name in ("N", "C", "CB"))
            assert np.cross(n, c) @ cb > 0
