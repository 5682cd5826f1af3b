"""Scoring proteins as a user would see them: evaluation mode, averaged weights, no gradient."""

from __future__ import annotations

import torch
from torch import nn

from sci_memeff.alphafold.metrics import gdt_ts, rmsd, tm_score
from sci_memeff.data.example import Example
from sci_memeff.training.prediction import CA, Prediction, predict, prediction
from sci_memeff.training.reports import ProteinScore
from sci_memeff.training.scores import mean_lddt_ca
from sci_memeff.training.step import Loss

__all__ = ["evaluate"]


@torch.no_grad()
def evaluate(
    model: nn.Module, loss: Loss, example: Example, device: torch.device
) -> tuple[ProteinScore, Prediction]:
    """Predict one protein and compare it with the experiment.

    The prediction sees the sequence, the alignment and the templates; nothing of the structure.
    """
    outputs, features = predict(model, example, device)
    total, _ = loss(outputs, features)
    found = prediction(example.name, outputs, features)
    places = (
        outputs["final_atom_positions"][..., CA, :],
        features["all_atom_positions"][..., CA, :],
        features["all_atom_mask"][..., CA],
    )
    score = ProteinScore(
        name=example.name,
        residues=len(found.sequence),
        loss=float(total),
        lddt_ca=mean_lddt_ca(outputs, features),
        gdt_ts=float(gdt_ts(*places).mean()),
        tm_score=float(tm_score(*places).mean()),
        rmsd_ca=float(rmsd(*places).mean()),
        plddt=float(found.plddt.mean()),
    )
    return score, found
