"""What `sci-memeff verify --recipe` does: a gate by gradients, and one by training curves."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from sci_memeff._plan import Plan
from sci_memeff.cli.progress import work_bar
from sci_memeff.cli.subjects import Subject
from sci_memeff.errors import BadConfigError
from sci_memeff.planning.gate import gate
from sci_memeff.training.curves import Variant, training_curves

__all__ = ["RecipeName", "Trial", "gated"]


class RecipeName(StrEnum):
    """The recipes that have a name."""

    fp32 = "fp32"
    bf16 = "bf16"
    bf16_pure = "bf16-pure"
    fp8 = "fp8"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A short training run to compare curves by; none where `data` is None."""

    data: Path | None
    seeds: int
    steps: int


def gated(
    chosen: Subject,
    plan: Plan,
    device: torch.device,
    *,
    bar: float | None = None,
    trial: Trial,
    plot: Path | None = None,
) -> dict[str, Any]:
    """Print what the gate finds; the figures, "passed" among them.

    BadConfigError where there is to be a training run of what is no preset.
    """
    if trial.data is not None and chosen.setup is None:
        raise BadConfigError(
            f"--data is for the training runs of presets, and {chosen.name} is one step",
            mend="leave out --data, or call sci_memeff.training.curves in Python",
        )
    model, batch = chosen.real(device)
    found = gate(model, chosen.step, batch, plan, bar=bar)
    print(found)
    if plot is not None:
        found.plot(plot)
        print(f"\ndrawn to {plot}")
    summary = found.to_dict()
    if trial.data is not None:
        curves = _curves(chosen, plan, device, trial, plot)
        summary["curves"] = curves
        summary["passed"] = found.passed and curves["passed"]
    return summary


def _curves(
    chosen: Subject, plan: Plan, device: torch.device, trial: Trial, plot: Path | None
) -> dict[str, Any]:
    assert chosen.setup is not None
    assert trial.data is not None
    settings = chosen.setup.settings
    run = replace(settings.run, steps=trial.steps, validate_every=0)
    variants = [Variant(name="fp32"), Variant(name=_label(plan), plan=plan)]
    with TemporaryDirectory() as folder, work_bar() as progress:
        found = training_curves(
            replace(settings, run=run),
            trial.data,
            variants,
            seeds=range(trial.seeds),
            folder=Path(folder),
            device=device,
            progress=progress,
        )
    print(f"\n{trial.steps} steps of {settings.name}, {found}")
    if plot is not None:
        path = plot.with_stem(f"{plot.stem}-curves")
        found.plot(path)
        print(f"\ndrawn to {path}")
    return json.loads(found.to_json())


def _label(plan: Plan) -> str:
    name = getattr(plan.recipe, "name", "fp32")
    return "planned" if name == "fp32" else name
