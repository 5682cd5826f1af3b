"""`sci-memeff verify`: whether a planned step is the plain one."""

from __future__ import annotations

import json
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sci_memeff._plan import Plan
from sci_memeff.cli.devices import chosen_device
from sci_memeff.cli.failures import FAILED, readable
from sci_memeff.cli.gate import RecipeName, Trial, gated
from sci_memeff.cli.subjects import (
    Blocks,
    Crop,
    Dtype,
    DtypeName,
    Passes,
    PresetOption,
    SubjectName,
    subject,
)
from sci_memeff.errors import BadConfigError
from sci_memeff.planning.verify import verify as run_both

__all__ = ["EPILOG", "verify"]


class ReferenceName(StrEnum):
    """What both can be compared with."""

    float32 = "float32"
    float64 = "float64"


EPILOG = """
**Examples**

A plan for initial training, at 32 residues, which takes minutes on a CPU:

    sci-memeff verify --preset initial_training --plan plan.json --crop 32 --passes 1

A model of your own as its seams stand, or under a plan:

    sci-memeff verify mypackage.training:example

    sci-memeff verify mypackage.training:example --plan plan.json --reference float64

Whether a cheaper precision keeps the gradients of float32, and how training with it goes:

    sci-memeff verify --preset demo --recipe fp8 --plot gate.png

    sci-memeff verify --preset demo --recipe bf16 --data data --seeds 3 --steps 100

Where the plain model does not fit into memory, both run on slices of the batch, and the table says
so. A preset is verified with random weights, on a protein that is made up.

**Exit codes**

0 the loss and every gradient agree, or the gate is passed; 1 they do not, or it is not; 2 an error,
with how to mend it.
"""


@readable
def verify(
    function: SubjectName = None,
    preset_name: PresetOption = None,
    plan: Annotated[
        Path | None, typer.Option(help="The plan, as saved: else the seams as they stand.")
    ] = None,
    dtype: Dtype = DtypeName.fp32,
    crop: Crop = None,
    blocks: Blocks = None,
    passes: Passes = None,
    tolerance: Annotated[
        float | None,
        typer.Option(help="Relative: else by dtype and by how many terms a gradient adds up."),
    ] = None,
    reference: Annotated[
        ReferenceName | None,
        typer.Option(help="Compare both with a copy in this dtype, for plans that are not exact."),
    ] = None,
    recipe: Annotated[
        RecipeName | None,
        typer.Option(
            help="Compare the gradients of a step in this precision with float32's, by their "
            "cosine, instead."
        ),
    ] = None,
    bar: Annotated[
        float | None, typer.Option(help="The least cosine that passes: else the recipe's own.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="With --recipe of a preset: train on these proteins, too, and compare."),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Runs of each, with --data.", min=2)] = 3,
    steps: Annotated[int, typer.Option(help="Updates of each run, with --data.", min=1)] = 100,
    plot: Annotated[
        Path | None, typer.Option(help="With --recipe: draw it to this .png, .pdf or .svg.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="End with one line of JSON.")] = False,
) -> None:
    """Run a step planned and plain, and compare the loss and every gradient."""
    chosen = subject(function, preset_name, dtype, crop=crop, blocks=blocks, passes=passes)
    read = None if plan is None else Plan.load(plan)
    if recipe is not None:
        summary = gated(
            chosen,
            replace(read or Plan(), recipe=recipe.value),
            chosen_device(device),
            bar=bar,
            trial=Trial(data=data, seeds=seeds, steps=steps),
            plot=plot,
        )
        if as_json:
            print(json.dumps(summary))
        if not summary["passed"]:
            raise typer.Exit(FAILED)
        return
    _need_recipe(bar=bar, data=data, plot=plot)
    model, batch = chosen.real(chosen_device(device))
    found = run_both(
        model,
        chosen.step,
        batch,
        plan=read,
        tolerance=tolerance,
        reference=None if reference is None else reference.value,
    )
    print(found)
    if as_json:
        print(found.to_json())
    if not found.ok:
        raise typer.Exit(FAILED)


def _need_recipe(**given: object) -> None:
    for name, value in given.items():
        if value is not None:
            raise BadConfigError(
                f"--{name} is for --recipe", mend=f"name a recipe, or leave out --{name}"
            )
