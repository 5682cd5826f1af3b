"""`sci-memeff plan`: how to make a training step fit into a number of bytes."""

from __future__ import annotations

import json
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from sci_memeff._plan import Plan
from sci_memeff.cli.failures import readable
from sci_memeff.cli.gate import RecipeName
from sci_memeff.cli.progress import work_bar
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
from sci_memeff.errors import BadConfigError
from sci_memeff.planning import planner

__all__ = ["EPILOG", "plan"]


class TierName(StrEnum):
    """What a plan may do to the numbers."""

    exact = "exact"
    rounding = "rounding"
    lossy = "lossy"


EPILOG = """
**Examples**

AlphaFold 2's fine-tuning within 6 GiB, kept in a file for --plan of the other commands:

    sci-memeff plan --preset finetuning --budget 6GiB --out plan.json

The same with nothing in the host's memory, and every plan that none betters, with a picture:

    sci-memeff plan --preset finetuning --budget 6GiB --no-host --front --plot front.png

With weights in float32, and what they are multiplied with in bfloat16:

    sci-memeff plan --preset finetuning --budget 6GiB --recipe bf16-pure --out plan.json

How many residues fit on a card:

    sci-memeff plan --preset finetuning --budget 24GB --target RTX4090 --max-crop

A model of your own, a function that returns (model, step, batch[, optimizer]):

    sci-memeff plan mypackage.training:example --budget 8GiB --out plan.json

No device is needed: the step is simulated. In Python: `apply(model, Plan.load("plan.json"))`.

**Exit codes**

0 there is a plan; 2 an error, with how to mend it: of a budget that no plan meets, the smallest
that one does.
"""


@readable
def plan(
    function: SubjectName = None,
    preset_name: PresetOption = None,
    budget: Annotated[
        str | None, typer.Option(help="Bytes of the device, such as 6GiB; else all it has.")
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="The device to plan for: H100-80GB, RTX4090, cpu … or a file of `calibrate`."
        ),
    ] = None,
    no_host: Annotated[
        bool, typer.Option("--no-host", help="Keep nothing in the host's memory.")
    ] = False,
    allow: Annotated[
        list[TierName] | None,
        typer.Option(help="What may change: exact, unless more is named; may be repeated."),
    ] = None,
    dtype: Dtype = DtypeName.bf16,
    recipe: Annotated[
        RecipeName | None,
        typer.Option(help="What modules compute in, of weights in float32; instead of --dtype."),
    ] = None,
    crop: Crop = None,
    blocks: Blocks = None,
    passes: Passes = None,
    front: Annotated[
        bool, typer.Option("--front", help="Show every plan that none betters, too.")
    ] = False,
    max_crop: Annotated[
        bool,
        typer.Option("--max-crop", help="Find the most residues that fit, and plan for those."),
    ] = False,
    out: Annotated[Path | None, typer.Option(help="File to write the plan to.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the front, bytes against time: .png, .pdf or .svg.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="End with one line of JSON.")] = False,
) -> None:
    """Plan a training step for a number of bytes, without running it."""
    dtype = dtype if recipe is None else DtypeName.fp32
    chosen = subject(function, preset_name, dtype, crop=crop, blocks=blocks, passes=passes)
    options: dict[str, Any] = {
        "budget": budget,
        "target": target,
        "keep": ("device",) if no_host else ("device", "host"),
        "optimizer": chosen.optimizer,
        "recipe": recipe,
    }
    start = time.perf_counter()
    summary: dict[str, object] = {}
    with work_bar() as options["progress"]:
        if max_crop:
            batch_at = _batch_at(chosen, budget)
            largest = planner.max_crop(chosen.model, chosen.step, batch_at, **options)
            found = largest.plan
            summary["max_crop"] = largest.crop
        else:
            tiers = tuple(str(tier) for tier in allow or [TierName.exact])
            found = _planned(chosen, options | {"allow": tiers})
        seconds = time.perf_counter() - start
        others = found.front() if front or plot is not None else None
    if max_crop:
        print(f"at most {summary['max_crop']} residues fit\n")
    print(found)
    if others is not None:
        if front:
            print(f"\n{others}")
            summary["front"] = [_figures(each) for each in others]
        if plot is not None:
            others.plot(plot)
    if out is not None:
        print(f"\nwritten to {found.save(out)}")
    if as_json:
        print(json.dumps({**_figures(found), "seconds": round(seconds, 3), **summary}))


def _planned(chosen: Subject, options: dict[str, Any]) -> Plan:
    batch_at = None if chosen.setup is None else chosen.setup.batch_at
    return planner.plan(chosen.model, chosen.step, chosen.batch, batch_at=batch_at, **options)


def _batch_at(chosen: Subject, budget: str | None) -> Any:
    if budget is None:
        raise BadConfigError(
            "--max-crop does not say in how many bytes", mend="give --budget, such as 24GB"
        )
    if chosen.setup is None:
        raise BadConfigError(
            f"--max-crop makes batches of other sizes, and {chosen.name} returns one",
            mend="call sci_memeff.max_crop in Python, with a function that makes the batches",
        )
    return chosen.setup.batch_at


def _figures(found: Plan) -> dict[str, object]:
    prediction = found.prediction
    assert prediction is not None
    return {
        "predicted_peak_bytes": prediction.peak_bytes,
        "flops_ratio": round(prediction.flops_ratio, 4),
        "step_seconds": prediction.step_seconds,
        "budget_bytes": prediction.budget_bytes,
        "reserved_bytes": prediction.reserved_bytes,
        "host_bytes": prediction.host_bytes,
        "plain_peak_bytes": prediction.plain_peak_bytes,
        "target": prediction.target,
    }
