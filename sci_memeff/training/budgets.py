"""A run's byte budget: the plan for it, made for the worst batch that the settings allow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch

from sci_memeff._plan import Plan
from sci_memeff.data.example import Example
from sci_memeff.errors import BadDataError
from sci_memeff.planning import planner
from sci_memeff.planning.gate import gate
from sci_memeff.planning.verify import verify
from sci_memeff.training.batch import Batch, first_residues, to_batch
from sci_memeff.training.folder import RunFolder
from sci_memeff.training.presets import Preset
from sci_memeff.training.settings import read_settings
from sci_memeff.training.setup import Setup, alphafold_setup
from sci_memeff.training.stream import Data

__all__ = ["leaner_plans", "plan_for_run", "recipe_for_run", "setup_of_run", "verify_for_run"]

LOOKED_AT = 100  # samples, for one to verify on
LEAST = 16  # residues of the smallest sample to verify on


def setup_of_run(settings: Preset) -> Setup:
    """The largest step of a run, the sum of its samples' gradients included."""
    return replace(alphafold_setup(settings), samples=settings.optimizer.batch_size)


def plan_for_run(
    settings: Preset, folder: RunFolder, device: torch.device, *, resume: bool
) -> Plan | None:
    """The plan for `settings.run.budget`; None without one, or where a resumed run has it saved.

    BudgetError where no plan fits the budget.
    """
    budget = settings.run.budget
    if budget is None or (resume and _saved_for(settings, folder)):
        return None
    return _planned(settings, device, budget)


def recipe_for_run(settings: Preset) -> str | None:
    """What the run computes in; None where nothing is cast."""
    return None if settings.run.recipe == "fp32" else settings.run.recipe


def leaner_plans(settings: Preset, device: torch.device) -> Callable[[], Sequence[Plan]]:
    """The front of the run's step, for when memory is short: found when it is asked for."""
    return lambda: _planned(settings, device, None).front()


def verify_for_run(settings: Preset, in_force: Plan, data: Data, device: torch.device) -> str:
    """Compare the planned with the plain step on the first sample; the table of it.

    With random weights, since fresh ones have few gradients; at a smaller crop where the plain step
    does not fit. A recipe's gradients are gated against float32's instead. VerificationError where
    they differ.
    """
    setup = setup_of_run(settings)
    batch = to_batch(_first(data), device)
    if in_force.recipe is not None:
        model = setup.real_model().to(device)
        return str(gate(model, setup.step, batch, in_force).raise_if_bad())
    crops = _halves(batch["aatype"].shape[1])
    found = verify(
        setup.real_model().to(device),
        setup.step,
        batch,
        plan=in_force,
        smaller=tuple(_Shorter(crop) for crop in crops),
    )
    return str(found.raise_if_bad())


def _planned(settings: Preset, device: torch.device, budget: str | None) -> Plan:
    setup = setup_of_run(settings)
    return planner.plan(
        setup.model,
        setup.step,
        setup.batch,
        budget=budget,
        target="cpu" if device.type == "cpu" else None,
        optimizer=setup.optimizer,
        batch_at=setup.batch_at,
        recipe=recipe_for_run(settings),
    )


def _saved_for(settings: Preset, folder: RunFolder) -> bool:
    """Whether the run has a plan, made for this budget."""
    if not (folder.plan.exists() and folder.config.exists()):
        return False
    return read_settings(folder.config, settings).run.budget == settings.run.budget


def _first(data: Data) -> Example:
    for k in range(LOOKED_AT):
        found = data[k]
        if isinstance(found, Example):
            return found
    raise BadDataError(
        f"none of the first {LOOKED_AT} samples can be used",
        source="the data",
        mend="run `sci-memeff data check DIR` to see what is wrong with each entry",
    )


def _halves(count: int) -> Iterator[int]:
    while count > LEAST:
        count = max(count // 2, LEAST)
        yield count


class _Shorter:
    """The first residues of a batch; named in the table of a verification."""

    def __init__(self, crop: int) -> None:
        self.crop = crop
        self.__name__ = f"the first {crop} residues"

    def __call__(self, batch: Batch) -> Batch:
        return first_residues(batch, self.crop)
