"""What `plan`, `verify` and `measure` work on: a preset's step, or one of the user's own."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._pytree import tree_map_only

from sci_memeff.errors import BadConfigError
from sci_memeff.training.presets import preset
from sci_memeff.training.setup import Setup, alphafold_setup

__all__ = [
    "Blocks",
    "Crop",
    "Dtype",
    "DtypeName",
    "Passes",
    "PresetName",
    "PresetOption",
    "Subject",
    "SubjectName",
    "subject",
]


class PresetName(StrEnum):
    """The presets by name."""

    demo = "demo"
    initial_training = "initial_training"
    finetuning = "finetuning"


class DtypeName(StrEnum):
    """Of weights and activations."""

    bf16 = "bf16"
    fp32 = "fp32"


DTYPES = {DtypeName.bf16: torch.bfloat16, DtypeName.fp32: torch.float32}

SubjectName = Annotated[
    str | None,
    typer.Argument(
        metavar="[MODULE:FUNCTION]",
        help="A function of yours that returns (model, step, batch) or (model, step, batch, "
        "optimizer); step(model, batch) returns the loss, optimizer(model) the optimizer. MODULE "
        "is looked for here, as `python -m` does.",
    ),
]
PresetOption = Annotated[
    PresetName | None,
    typer.Option("--preset", help="The training step of AlphaFold 2 with these settings, instead."),
]
Dtype = Annotated[
    DtypeName, typer.Option(help="Of a preset's weights and activations: bf16 or fp32.")
]
Crop = Annotated[int | None, typer.Option(help="Residues, if not the preset's.", min=1)]
Blocks = Annotated[int | None, typer.Option(help="Evoformer blocks, if not the preset's.", min=1)]
Passes = Annotated[
    int | None,
    typer.Option(
        help="Recycling passes, the last included: else one, the step that published figures are "
        "of; a run draws up to four, and each one's features take memory.",
        min=1,
    ),
]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A training step, to be simulated or run."""

    name: str
    model: nn.Module | Callable[[], nn.Module]
    step: Callable[[nn.Module, Any], Tensor | None]
    batch: Any
    optimizer: Callable[[nn.Module], Optimizer] | None = None
    setup: Setup | None = None
    """Where it is a preset's: nothing in `model` and `batch` has values then."""

    def real(self, device: torch.device) -> tuple[nn.Module, Any]:
        """Model and batch with values, on `device`; a preset's are made up."""
        if self.setup is not None:
            model, batch = self.setup.real_model(), self.setup.real_batch()
        else:
            model = self.model if isinstance(self.model, nn.Module) else self.model()
            batch = self.batch
        return model.to(device), tree_map_only(Tensor, lambda x: x.to(device), batch)


def subject(
    function: str | None, name: PresetName | None, dtype: DtypeName, **sizes: int | None
) -> Subject:
    """What the arguments name; `sizes` are those of `alphafold_setup`.

    BadConfigError where they name nothing, two things, or something that cannot be had.
    """
    if (function is None) == (name is None):
        raise BadConfigError(
            "what to work on is named twice" if function else "nothing is named to work on",
            mend="give --preset NAME, or MODULE:FUNCTION of your own",
        )
    if function is not None:
        given = [f"--{key}" for key, value in sizes.items() if value is not None]
        if given:
            raise BadConfigError(
                f"{', '.join(given)} is for presets, and {function} is your own",
                mend="leave it out, and let your function build what it should",
            )
        return _own(function)
    assert name is not None
    setup = alphafold_setup(
        preset(name),
        dtype=DTYPES[dtype],
        crop=sizes.get("crop"),
        num_evoformer_blocks=sizes.get("blocks"),
        passes=sizes.get("passes") or 1,
    )
    return Subject(
        name=f"{name}, {dtype}",
        model=setup.model,
        step=setup.step,
        batch=setup.batch,
        optimizer=setup.optimizer,
        setup=setup,
    )


def _own(name: str) -> Subject:
    found = _function(name)()
    if not isinstance(found, tuple) or len(found) not in (3, 4) or not callable(found[1]):
        raise BadConfigError(
            f"{name} returned {_kind(found)}",
            mend="return (model, step, batch), or (model, step, batch, optimizer)",
        )
    model, step, batch, *rest = found
    return Subject(name=name, model=model, step=step, batch=batch, optimizer=(*rest, None)[0])


def _function(name: str) -> Callable[[], Any]:
    module_name, _, function_name = name.partition(":")
    if not module_name or not function_name:
        raise BadConfigError(
            f"{name!r} is no MODULE:FUNCTION", mend="write it as in mypackage.training:example"
        )
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise  # something that the user's module imports
        raise BadConfigError(
            f"there is no module {error.name}",
            mend=f"run the command where `python -c 'import {module_name}'` works",
        ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise BadConfigError(
            f"{module_name} has no function {function_name}",
            mend="name one that returns (model, step, batch)",
        )
    return function


def _kind(found: object) -> str:
    if isinstance(found, tuple):
        return f"({', '.join(type(part).__name__ for part in found)})"
    return f"a {type(found).__name__}"
