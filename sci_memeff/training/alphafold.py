"""`train_alphafold`: the loop with the real network, losses and data."""

from __future__ import annotations

from pathlib import Path

import torch

from sci_memeff.alphafold.losses import AlphaFoldLoss
from sci_memeff.alphafold.model import AlphaFold
from sci_memeff.data.dataset import TrainingData
from sci_memeff.data.layout import DataFolder
from sci_memeff.training.loop import Fitted, Parts, fit
from sci_memeff.training.presets import Preset
from sci_memeff.training.randomness import sown
from sci_memeff.training.reports import Reporter, Silent
from sci_memeff.training.weights import load_any

__all__ = ["train_alphafold"]

INITIAL_WEIGHTS = 0


def train_alphafold(
    settings: Preset,
    data: Path,
    folder: Path,
    *,
    device: torch.device | str = "cpu",
    weights: Path | None = None,
    resume: bool = False,
    reporter: Reporter | None = None,
) -> Fitted:
    """Train AlphaFold 2 on the proteins in `data`; see `fit` for the rest.

    `weights` to start from may be a run folder, a checkpoint, an OpenFold .pt or a DeepMind .npz.
    A resumed run goes on with its own. Errors: those of the data, of the weights and of `fit`.
    """
    proteins = TrainingData(DataFolder(data), settings.data, settings.run.seed)
    with sown(settings.run.seed, INITIAL_WEIGHTS):
        model = AlphaFold(settings.model)
    if weights is not None:
        load_any(model, weights, (reporter or Silent()).noted)
    tell = reporter or Silent()
    for name, reason in proteins.dropped.items():
        tell.noted(f"left out {name}: {reason}")
    parts = Parts(model, AlphaFoldLoss(settings.loss), proteins, proteins.validation())
    return fit(parts, settings, folder, device=device, resume=resume, reporter=reporter)
