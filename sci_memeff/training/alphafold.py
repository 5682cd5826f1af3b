"""`train_alphafold`: the loop with the real network, losses and data."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from sci_memeff._plan import Plan
from sci_memeff.alphafold.losses import AlphaFoldLoss
from sci_memeff.alphafold.model import AlphaFold
from sci_memeff.data.dataset import TrainingData
from sci_memeff.data.sources.index import Record
from sci_memeff.data.sources.layout import DataFolder
from sci_memeff.training.budgets import (
    leaner_plans,
    plan_for_run,
    recipe_for_run,
    verify_for_run,
)
from sci_memeff.training.folder import RunFolder, make_folder
from sci_memeff.training.loop import Fitted, Parts, fit
from sci_memeff.training.presets import Preset
from sci_memeff.training.randomness import sown
from sci_memeff.training.reports import Reporter, Silent
from sci_memeff.training.weights import load_any

__all__ = ["fresh_model", "train_alphafold"]

INITIAL_WEIGHTS = 0  # a stream of random numbers of its own
NAMED = 20  # dropped chains that are named one by one


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
    A resumed run goes on with its own. With `settings.run.budget` the run is planned for it; where
    it is resumed, only if the budget is another one than it had. Errors: those of the data, of the
    weights, of planning and verifying, and of `fit`.
    """
    run, tell, where = settings.run, reporter or Silent(), RunFolder(folder)
    if not resume:
        where.must_be_new()  # planning takes a minute
    proteins = TrainingData(DataFolder(data), settings.data, run.seed, cache_dir=run.cache_dir)
    if run.cache_dir is not None:
        make_folder(Path(run.cache_dir), mend="set run.cache_dir to a folder that can be written")
    model = fresh_model(settings)
    if weights is not None:
        load_any(model, weights, tell.noted)
    device = torch.device(device)
    planned = _planned(settings, where, device, resume, tell)
    front = leaner_plans(settings, device) if planned is None else planned.front
    recipe = recipe_for_run(settings)
    if planned is None and not resume and recipe is not None:
        planned = Plan(recipe=recipe)
    if run.verify and (planned is not None or where.plan.exists()):
        in_force = planned or Plan.load(where.plan)
        tell.noted(verify_for_run(settings, in_force, proteins, device))
    parts = Parts(
        model,
        AlphaFoldLoss(settings.loss),
        proteins,
        proteins.validation(),
        fingerprint=_fingerprint(proteins.records),
        plan=planned,
        front=front,
    )
    _tell_dropped(proteins.dropped, tell)
    return fit(parts, settings, folder, device=device, resume=resume, reporter=reporter)


def fresh_model(settings: Preset) -> AlphaFold:
    """The network with the weights that a run of this seed begins with."""
    with sown(settings.run.seed, INITIAL_WEIGHTS):
        return AlphaFold(settings.model)


def _planned(
    settings: Preset, folder: RunFolder, device: torch.device, resume: bool, tell: Reporter
) -> Plan | None:
    if settings.run.budget is not None:
        tell.noted(f"planning for {settings.run.budget}")
    found = plan_for_run(settings, folder, device, resume=resume)
    if found is not None:
        tell.noted(str(found))
    return found


def _fingerprint(records: Sequence[Record]) -> str:
    """Tells sets of proteins apart: their number and a hash of names and sequences."""
    text = "\n".join(f"{record.name} {record.sequence}" for record in records)
    return f"{len(records)} chains, {hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _tell_dropped(dropped: Mapping[str, str], tell: Reporter) -> None:
    for name, reason in list(dropped.items())[:NAMED]:
        tell.noted(f"left out {name}: {reason}")
    if len(dropped) > NAMED:
        tell.noted(
            f"left out {len(dropped) - NAMED} more; `sci-memeff data list DIR` names them all"
        )
