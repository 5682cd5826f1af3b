"""`sci-memeff train`, also reached as scripts/train_af2.py."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sci_memeff.cli.devices import chosen_device
from sci_memeff.cli.failures import readable
from sci_memeff.cli.gate import RecipeName
from sci_memeff.cli.progress import Printed, score_table, skipped_table
from sci_memeff.cli.subjects import PresetName
from sci_memeff.errors import BadConfigError
from sci_memeff.training import Fitted, Preset, preset, read_settings, train_alphafold
from sci_memeff.training.folder import RunFolder, next_free

__all__ = ["EPILOG", "train"]


EPILOG = """
**Examples**

Train the demo on the bundled proteins:

    sci-memeff train --preset demo --data data

AlphaFold 2's two stages on an OpenProteinSet folder (mmcif/ and alignments/):

    sci-memeff train --preset initial_training --data DIR --out runs/first

    sci-memeff train --preset finetuning --data DIR --weights runs/first

On a card of 12 GB: planned for it beforehand, and the same gradients as without a plan:

    sci-memeff train --preset initial_training --data DIR --budget 10GiB --verify

Go on after an interruption, with the same losses as if there had been none:

    sci-memeff train --data DIR --out runs/first --resume

**Settings file**

Every setting of a run stands in its config.yaml. A file for --config need hold only what differs
from the preset, e.g. `optimizer: {learning_rate: 0.0005}`. `optimizer: {kind: adam8bit}` keeps
Adam's moments in 8 bits (also adam4bit, adamfp8, galore, offloaded); `optimizer: {spikes: {ratio:
5000}}` cuts gradients that are out of all proportion.

**Exit codes**

0 done; 2 an error, with how to mend it; 143 stopped by SIGTERM and 130 by Ctrl-C, both with the
state saved.
"""


@readable
def train(
    data: Annotated[Path, typer.Option(help="Folder with mmcif/ and alignments/ENTRY_CHAIN/.")],
    preset_name: Annotated[
        PresetName | None,
        typer.Option("--preset", help="The settings to start from: demo where none is named."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The run folder to write: else runs/PRESET, or the next free."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="YAML file of settings that differ from the preset.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Updates to make, in all.", min=1)] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest checkpoint in --out.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    seed: Annotated[
        int | None,
        typer.Option(help="Of weights, data and dropout: else the settings' own.", min=0),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Weights to start from: a run folder, one of its checkpoints, an OpenFold .pt or "
            "a DeepMind .npz."
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(help="Bytes of the device that a step may take, such as 8GiB."),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare planned and plain gradients first.")
    ] = False,
    recipe: Annotated[
        RecipeName | None,
        typer.Option(help="What modules compute in: else the settings' own, float32."),
    ] = None,
) -> None:
    """Train AlphaFold 2 on real structures.

    The last line printed is the run's summary as JSON. The run folder holds the settings, the
    metrics, checkpoints, predicted structures and a picture.
    """
    settings = _settings(preset_name, config, out if resume else None)
    if resume and out is None:
        raise BadConfigError(
            "--resume does not say which run", mend="name the run folder with --out"
        )
    run = replace(
        settings.run,
        steps=settings.run.steps if steps is None else steps,
        seed=settings.run.seed if seed is None else seed,
        budget=settings.run.budget if budget is None else budget,
        verify=settings.run.verify or verify,
        recipe=settings.run.recipe if recipe is None else recipe.value,
    )
    console = Console()
    with Printed(console) as reporter:
        fitted = train_alphafold(
            replace(settings, run=run),
            data,
            out or next_free(Path("runs") / settings.name),
            device=chosen_device(device),
            weights=weights,
            resume=resume,
            reporter=reporter,
        )
    _end(fitted, console)


def _settings(name: PresetName | None, config: Path | None, resumed: Path | None) -> Preset:
    """The preset, under the run's own settings where it is resumed, under --config."""
    base = preset(name or "demo")
    if resumed is not None and name is None:
        saved = RunFolder(resumed).config
        if not saved.exists():
            raise BadConfigError(
                f"{resumed} holds no run that could be resumed (no {saved.name})",
                mend="leave out --resume to start one there, or correct --out",
            )
        base = read_settings(saved, base)
    if config is None:
        return base
    settings = read_settings(config, base)
    if name is not None and settings.name != name:
        raise BadConfigError(
            f"--preset is {name}, but {config} has name: {settings.name}",
            mend="leave out one of the two",
        )
    return settings


def _end(fitted: Fitted, console: Console) -> None:
    if fitted.skipped:
        console.print(skipped_table(fitted.skipped))
    if fitted.scores:
        console.print(score_table(fitted.scores))
    if fitted.summary is not None:
        print(fitted.summary.json())
    if fitted.stopped_by is not None:
        raise typer.Exit(128 + fitted.stopped_by)
