"""`sci-memeff verify`: whether a planned step is the plain one."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sci_memeff._plan import Plan
from sci_memeff.cli.devices import chosen_device
from sci_memeff.cli.failures import FAILED, readable
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

Where the plain model does not fit into memory, both run on slices of the batch, and the table says
so. A preset is verified with random weights, on a protein that is made up.

**Exit codes**

0 the loss and every gradient agree; 1 they do not; 2 an error, with how to mend it.
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
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="End with one line of JSON.")] = False,
) -> None:
    """Run a step planned and plain, and compare the loss and every gradient."""
    chosen = subject(function, preset_name, dtype, crop=crop, blocks=blocks, passes=passes)
    read = None if plan is None else Plan.load(plan)
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
