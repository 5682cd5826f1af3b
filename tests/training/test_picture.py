"""The picture: panels for proteins with a known structure, at one scale each, and no other."""

import numpy as np
import pytest
from matplotlib.image import imread

from sci_memeff.training import picture
from sci_memeff.training.picture import draw
from sci_memeff.training.prediction import Prediction
from sci_memeff.training.reports import ProteinScore

SCORE = ProteinScore(
    name="1abc_A",
    residues=20,
    loss=1.0,
    lddt_ca=0.91,
    gdt_ts=0.9,
    tm_score=0.8,
    rmsd_ca=1.0,
    plddt=80.0,
)


def helix(known: bool = True) -> Prediction:
    turn = np.arange(20) * 1.745
    ca = np.stack([2.3 * np.cos(turn), 2.3 * np.sin(turn), 1.5 * np.arange(20)], -1)
    positions = np.broadcast_to(ca[:, None], (20, 37, 3)).astype(np.float32)
    moved = positions[..., [1, 2, 0]] + np.float32(40.0)  # a turn and a shift
    mask = np.ones((20, 37), bool)
    mask[7:9] = False
    return Prediction(
        name="1abc_A",
        sequence="A" * 20,
        residue_index=np.arange(20),
        positions=moved,
        mask=np.ones((20, 37), bool),
        plddt=np.full(20, 80, np.float32),
        experiment=positions if known else None,
        experiment_mask=mask if known else None,
    )


def test_picture_has_a_panel_for_each_known_structure(tmp_path):
    draw(tmp_path / "one.png", [(helix(), SCORE)])
    draw(tmp_path / "two.png", [(helix(), SCORE), (helix(), SCORE), (helix(False), SCORE)])
    one, two = imread(tmp_path / "one.png"), imread(tmp_path / "two.png")
    assert two.shape[1] == 2 * one.shape[1]
    colours = one[..., :3].reshape(-1, 3)
    for wanted in (picture.EXPERIMENT, picture.PREDICTED):
        assert (np.abs(colours - wanted).max(-1) < 0.02).sum() > 100


def test_prediction_is_superposed_and_not_mirrored():
    experiment, predicted, resolved = picture._turned(helix())
    np.testing.assert_allclose(predicted, experiment, atol=1e-4)
    assert np.ptp(experiment[:, 0]) == max(np.ptp(experiment, axis=0))
    original = helix().experiment
    assert original is not None
    steps, turned = np.diff(original[:, 1], axis=0), np.diff(experiment, axis=0)
    hands = [np.linalg.det(vectors[:3]) for vectors in (steps, turned)]
    assert hands[0] == pytest.approx(hands[1], rel=1e-4)
    assert not resolved[7:9].any()


def test_curve_meets_every_residue_and_spans_no_gap():
    experiment, _, resolved = picture._turned(helix())
    pieces = picture._pieces(experiment, resolved)
    assert len(pieces) == picture.SMOOTH * (6 + 10)
    np.testing.assert_array_equal(pieces[:: picture.SMOOTH, 0][:6], experiment[:6])
    ends = pieces[picture.SMOOTH - 1 :: picture.SMOOTH, 1]
    np.testing.assert_allclose(ends[:6], experiment[1:7], atol=1e-5)
    joints = pieces[1:, 0] - pieces[:-1, 1]
    assert (np.abs(joints).max(-1) > 1e-5).sum() == 1  # the gap
