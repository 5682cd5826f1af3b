"""What a prediction scores against the experiment."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from sci_memeff.data.example import Example
from sci_memeff.training.validation import evaluate

from .standins import LENGTH, features, loss

CPU = torch.device("cpu")


class Says(nn.Module):
    """Predicts the true structure, moved as a rigid body, and some of its residues astray."""

    def __init__(self, astray: float = 0.0) -> None:
        super().__init__()
        self.astray = astray

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        assert not self.training
        true = batch["all_atom_positions"][..., -1]
        positions = true[..., [1, 2, 0]] + 7.0
        positions[:, : LENGTH // 3] += self.astray
        mask = batch["all_atom_mask"][..., -1]
        plddt = torch.full(mask.shape[:2], 61.0)
        return {"final_atom_positions": positions, "final_atom_mask": mask, "plddt": plddt}


def test_a_true_prediction_has_every_score():
    example = Example(name="walk", features=features(0))
    score, found = evaluate(Says().train(), loss, example, CPU)
    assert (score.name, score.residues, score.plddt) == ("walk", LENGTH, 61.0)
    assert (score.lddt_ca, score.gdt_ts) == (1.0, 1.0)
    assert score.tm_score == pytest.approx(1.0, abs=1e-5)
    assert score.rmsd_ca == pytest.approx(0.0, abs=1e-4)
    assert score.loss > 0  # of the stand-in, which is not invariant
    assert found.sequence == "".join("ARNDCQEGHILKMFPSTWYV"[k] for k in features(0)["aatype"][:, 0])


def test_a_third_astray_is_not_scored():
    example = Example(name="walk", features=features(0))
    score, _ = evaluate(Says(astray=100.0), loss, example, CPU)
    assert score.gdt_ts == pytest.approx(2 / 3)
    assert score.tm_score == pytest.approx(2 / 3, abs=1e-3)
    assert 0.2 < score.lddt_ca < 0.7
    assert score.rmsd_ca > 20


def test_nothing_resolved_is_no_score():
    given = features(0)
    given["all_atom_mask"] = np.zeros_like(given["all_atom_mask"])
    score, _ = evaluate(Says(), loss, Example(name="walk", features=given), CPU)
    scores = (score.lddt_ca, score.gdt_ts, score.tm_score, score.rmsd_ca)
    assert all(math.isnan(value) for value in scores)
