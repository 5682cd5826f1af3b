"""`sci-memeff measure`: live bytes and FLOPs of a step, simulated or run."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import nn
from torch.optim import Optimizer

from sci_memeff._apply import apply
from sci_memeff._plan import Plan
from sci_memeff.cli.devices import chosen_device
from sci_memeff.cli.failures import readable
from sci_memeff.cli.subjects import (
    Blocks,
    Crop,
    Dtype,
    DtypeName,
    Passes,
    PresetOption,
    Subject,
    SubjectName,
    subject,
)
from sci_memeff.measure import Measured, simulate
from sci_memeff.measure import measure as measuring

__all__ = ["EPILOG", "measure"]

UPDATES = 2  # the optimizer's states are there from the second on

EPILOG = """
**Examples**

What fine-tuning takes, without running it and without a device:

    sci-memeff measure --preset finetuning --plan plan.json --plot finetuning.png

For real, on a protein that is made up, at 64 residues:

    sci-memeff measure --preset initial_training --crop 64 --real --device cpu

A model of your own:

    sci-memeff measure mypackage.training:example

Bytes are those of tensors that are alive. Two updates are made where there is an optimizer, since
its states are there from the second on.
"""


@readable
def measure(
    function: SubjectName = None,
    preset_name: PresetOption = None,
    plan: Annotated[
        Path | None, typer.Option(help="The plan, as saved: else the seams as they stand.")
    ] = None,
    dtype: Dtype = DtypeName.bf16,
    crop: Crop = None,
    blocks: Blocks = None,
    passes: Passes = None,
    real: Annotated[bool, typer.Option("--real", help="Run it, do not simulate it.")] = False,
    device: Annotated[str, typer.Option(help="Of --real: auto, cpu, cuda or cuda:N.")] = "auto",
    plot: Annotated[
        Path | None, typer.Option(help="Draw bytes over time: a .png, .pdf or .svg.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="End with one line of JSON.")] = False,
) -> None:
    """Count the bytes and FLOPs of a training step: forward, losses, backward, update."""
    chosen = subject(function, preset_name, dtype, crop=crop, blocks=blocks, passes=passes)
    read = None if plan is None else Plan.load(plan)
    start = time.perf_counter()
    if real:
        found = _run(chosen, read, chosen_device(device))
    else:
        print(f"simulating {chosen.name}", file=sys.stderr)
        found = _simulated(chosen, read)
    print(found)
    if plot is not None:
        found.plot(plot)
    if as_json:
        seconds = round(time.perf_counter() - start, 3)
        print(json.dumps({"peak_bytes": found.peak, **found.to_dict(), "seconds": seconds}))


def _simulated(chosen: Subject, plan: Plan | None) -> Measured:
    return simulate(
        _planned(chosen.model, plan),
        chosen.step,
        chosen.batch,
        optimizer=chosen.optimizer,
        updates=_updates(chosen),
        device="cpu",
    )


def _updates(chosen: Subject) -> int:
    return 1 if chosen.optimizer is None else UPDATES


def _planned(
    model: nn.Module | Callable[[], nn.Module], plan: Plan | None
) -> nn.Module | Callable[[], nn.Module]:
    if plan is None:
        return model
    if isinstance(model, nn.Module):
        return apply(model, plan)
    return lambda: apply(model(), plan)


def _run(chosen: Subject, plan: Plan | None, device: torch.device) -> Measured:
    model, batch = chosen.real(device)
    if plan is not None:
        apply(model, plan)
    optimizer: Optimizer | None = None if chosen.optimizer is None else chosen.optimizer(model)
    with measuring(model) as found:
        for _ in range(_updates(chosen)):
            loss = chosen.step(model, batch)
            if loss is not None:
                loss.backward()
            del loss
            if optimizer is not None:
                optimizer.step()
                optimizer.zero_grad()
    return found
