import numpy as np
import pytest

from sci_memeff.chemistry import (
    ATOM14_GROUP,
    ATOM14_MASK,
    ATOM14_POSITIONS,
    ATOM14_TO_ATOM37,
    ATOM37_INDEX,
    BACKBONE,
    CHI1,
    CHI_MASK,
    DEFAULT_FRAMES,
    GROUP_AMBIGUOUS,
    PSI,
    RESTYPE_INDEX,
)
from sci_memeff.data.features.atoms import atom14_positions
from sci_memeff.data.features.frames import frames_from_points, rigid_group_features
from sci_memeff.data.features.torsions import torsion_angles


def about_x(angle):
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return turn


def built(angles, backbone):
    """Residues 0 to 19 from ψ and χ1 to χ4: Algorithm 24 and the tables, by loops."""
    frames = np.zeros((20, 8, 4, 4))
    positions = np.zeros((20, 37, 3), np.float32)
    mask = np.zeros((20, 37), np.float32)
    for restype in range(20):
        frames[restype, :] = backbone[restype]
        psi = DEFAULT_FRAMES[restype, PSI] @ about_x(angles[restype, 0])
        frames[restype, PSI] = backbone[restype] @ psi
        parent = backbone[restype]
        for chi in range(4):
            if CHI_MASK[restype, chi]:
                turn = about_x(angles[restype, 1 + chi])
                parent = parent @ DEFAULT_FRAMES[restype, CHI1 + chi] @ turn
                frames[restype, CHI1 + chi] = parent
        for column in np.flatnonzero(ATOM14_MASK[restype]):
            place = np.append(ATOM14_POSITIONS[restype, column], 1.0)
            atom = ATOM14_TO_ATOM37[restype, column]
            group = ATOM14_GROUP[restype, column]
            positions[restype, atom] = (frames[restype, group] @ place)[:3]
            mask[restype, atom] = 1.0
    return frames, positions, mask


@pytest.fixture(scope="module")
def ideal():
    rng = np.random.default_rng(4)
    angles = rng.uniform(-np.pi, np.pi, (20, 5))
    backbone = np.tile(np.eye(4), (20, 1, 1))
    rotations, _ = np.linalg.qr(rng.normal(size=(20, 3, 3)))
    backbone[:, :3, :3] = rotations * np.linalg.det(rotations)[:, None, None]
    backbone[:, :3, 3] = rng.normal(size=(20, 3)) * 30
    return angles, *built(angles, backbone)


def test_frames_point_as_algorithm_21_says():
    rng = np.random.default_rng(0)
    before, origin, plane = rng.normal(size=(3, 5, 3))
    rotation, where = frames_from_points(before, origin, plane)
    assert np.array_equal(where, origin)
    assert rotation.swapaxes(-1, -2) @ rotation == pytest.approx(
        np.tile(np.eye(3), (5, 1, 1)), abs=1e-6
    )
    assert np.linalg.det(rotation) == pytest.approx(1.0, abs=1e-6)
    local = np.einsum("bji,bj->bi", rotation, plane - origin)
    assert (local[:, 1] > 0).all()
    assert local[:, 2] == pytest.approx(0.0, abs=1e-9)
    local = np.einsum("bji,bj->bi", rotation, before - origin)
    assert local[:, 1:] == pytest.approx(0.0, abs=1e-6)
    assert (local[:, 0] < 0).all()


def test_frames_of_ideal_residues_are_those_they_were_built_from(ideal):
    _, frames, positions, mask = ideal
    found = rigid_group_features(np.arange(20), positions, mask)
    exists = found["rigidgroups_gt_exists"] > 0
    assert np.array_equal(found["rigidgroups_gt_exists"], found["rigidgroups_group_exists"])
    assert exists[:, [BACKBONE, PSI]].all()
    # Ideal positions are given to 1e-3 Å, and the literature's are not exactly planar.
    assert found["rigidgroups_gt_frames"][exists] == pytest.approx(frames[exists], abs=0.02)
    assert np.array_equal(found["backbone_rigid_tensor"], found["rigidgroups_gt_frames"][:, 0])
    assert found["backbone_rigid_mask"].all()


def test_frames_rebuild_the_atoms(ideal):
    _, _, positions, mask = ideal
    aatype = np.arange(20)
    frames = rigid_group_features(aatype, positions, mask)["rigidgroups_gt_frames"]
    packed = atom14_positions(aatype, positions, mask)
    for restype in range(20):
        for column in np.flatnonzero(ATOM14_MASK[restype]):
            frame = frames[restype, ATOM14_GROUP[restype, column]]
            place = frame[:3, :3] @ ATOM14_POSITIONS[restype, column] + frame[:3, 3]
            truth = packed["atom14_gt_positions"][restype, column]
            assert place == pytest.approx(truth, abs=0.03)


def test_other_frames_turn_ambiguous_groups_by_pi(ideal):
    _, _, positions, mask = ideal
    aatype = np.arange(20)
    found = rigid_group_features(aatype, positions, mask)
    truth, other = found["rigidgroups_gt_frames"], found["rigidgroups_alt_gt_frames"]
    turned = found["rigidgroups_group_is_ambiguous"] > 0
    assert np.array_equal(turned, GROUP_AMBIGUOUS[:20] > 0)
    assert turned.sum() == 4
    assert np.array_equal(truth[~turned], other[~turned])
    assert other[turned] == pytest.approx(truth[turned] @ about_x(np.pi), abs=1e-5)
    # A frame from the swapped oxygens of aspartate is the other frame.
    asp = RESTYPE_INDEX["D"]
    swapped = positions.copy()
    pair = [ATOM37_INDEX["OD1"], ATOM37_INDEX["OD2"]]
    swapped[asp, pair] = swapped[asp, pair[::-1]]
    again = rigid_group_features(aatype, swapped, mask)["rigidgroups_gt_frames"]
    assert again[asp, CHI1 + 1] == pytest.approx(other[asp, CHI1 + 1], abs=0.05)


def test_a_frame_needs_its_three_atoms(ideal):
    _, _, positions, mask = ideal
    mask = mask.copy()
    lysine, serine = RESTYPE_INDEX["K"], RESTYPE_INDEX["S"]
    mask[lysine, ATOM37_INDEX["CE"]] = 0.0
    mask[serine, ATOM37_INDEX["O"]] = 0.0
    found = rigid_group_features(np.arange(20), positions, mask)["rigidgroups_gt_exists"]
    assert found[lysine].tolist() == [1, 0, 0, 1, 1, 1, 0, 0]
    assert found[serine].tolist() == [1, 0, 0, 0, 1, 0, 0, 0]


def test_absent_atoms_give_no_nan():
    nothing = np.zeros((1, 37, 3), np.float32), np.zeros((1, 37), np.float32)
    found = rigid_group_features(np.array([20]), *nothing)
    assert all(np.isfinite(value).all() for value in found.values())
    assert not found["rigidgroups_gt_exists"].any()


def test_torsions_of_ideal_residues_are_those_they_were_built_from(ideal):
    angles, _, positions, mask = ideal
    # Far apart, so that each residue stands alone: a batch of chains of one.
    found = torsion_angles(np.arange(20)[:, None], positions[:, None], mask[:, None])
    known = found["torsion_angles_mask"][:, 0] > 0
    assert not known[:, :2].any()  # no residue before
    assert known[:, 2].all()
    assert np.array_equal(known[:, 3:], CHI_MASK[:20] > 0)
    expected = np.stack([np.sin(angles), np.cos(angles)], axis=-1)
    truth = found["torsion_angles_sin_cos"][:, 0, 2:]
    # ψ is measured at the oxygen, half a turn away from the next nitrogen.
    assert truth[known[:, 2:]] == pytest.approx(expected[known[:, 2:]], abs=0.03)
