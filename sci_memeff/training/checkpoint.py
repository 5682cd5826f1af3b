"""Checkpoints: a folder per kept step, written whole or not at all, without pickle.

    checkpoints/step-00000500/
        model.safetensors       the weights
        averaged.safetensors    the averaged weights, those that are scored and used
        adam.safetensors        Adam's two moments and step counts as the optimizer's kind keeps
                                them, by parameter name; of parameters in half precision the float32
                                weights too
        state.json              step, next sample, seed, settings, and a digest of each file

The folder is written under another name and renamed when all of it is on disk, so a run that is
killed at any moment leaves only whole checkpoints under their own names.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from sci_memeff.errors import BadCheckpointError
from sci_memeff.training.states import AVERAGE
from sci_memeff.training.step import Trainer

__all__ = [
    "STATE",
    "Checkpoint",
    "load_averaged",
    "newest_good",
    "read",
    "restore",
    "write",
]

FORMAT = 2
STATE = "state.json"
FILES = ("model.safetensors", "averaged.safetensors", "adam.safetensors")
PREFIX = "step-"
PARTIAL = ".partial-"
LISTED = 8  # tensors that an error names
ANOTHER = "name another checkpoint, or train with --resume, which goes back to the last whole one"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was found whole; its tensors are read by `restore`."""

    path: Path
    step: int
    next_sample: int
    settings: Mapping[str, Any]
    """The run's settings, as nested plain values, and `proteins`, which tells its data apart."""


def write(folder: Path, trainer: Trainer, settings: Mapping[str, Any], *, keep: int) -> Path:
    """Write the state of `trainer` under `folder` and drop all but the newest `keep`.

    Atomic. 16 bytes per fp32 parameter: weights, averaged weights, two moments (in low bits fewer);
    plus 4 per tensor.
    """
    path = folder / f"{PREFIX}{trainer.step:08d}"
    if _is_whole(path):
        return path  # a step has one state, so it is this one
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(f"{PARTIAL}*"):
        shutil.rmtree(leftover)
    partial = folder / f"{PARTIAL}{os.getpid()}"
    partial.mkdir()
    for name, tensors in zip(FILES, _tensors(trainer), strict=True):
        save_file(tensors, partial / name)
        os.chmod(partial / name, 0o644)  # safetensors' files are for their owner alone
    state = {
        "format": FORMAT,
        "step": trainer.step,
        "next_sample": trainer.next_sample,
        "digests": {name: _digest(partial / name) for name in FILES},
        "settings": dict(settings),
    }
    (partial / STATE).write_text(json.dumps(state, indent=1) + "\n")
    _sync(partial)
    shutil.rmtree(path, ignore_errors=True)  # a damaged one of this step
    partial.rename(path)
    for old in _found(folder)[keep:]:
        shutil.rmtree(old)
    return path


def newest_good(folder: Path, warn: Callable[[str], None]) -> Checkpoint | None:
    """The newest checkpoint under `folder` that is whole; None where there is none at all.

    Each damaged one that is passed over is told to `warn`. BadCheckpointError where all are.
    """
    found = _found(folder)
    for path in found:
        try:
            checkpoint = read(path)
        except BadCheckpointError as error:
            warn(f"{error.wrong}: going back to the checkpoint before it")
            continue
        return checkpoint
    if found:
        raise BadCheckpointError(
            f"none of the {len(found)} checkpoints in {folder} is whole",
            mend="start a new run in another folder, with --weights if older weights are at hand",
        )
    return None


def read(path: Path) -> Checkpoint:
    """Check one checkpoint against its digests; BadCheckpointError says what is damaged."""
    try:
        state = json.loads((path / STATE).read_text())
        damaged = [n for n, digest in state["digests"].items() if _digest(path / n) != digest]
        checkpoint = Checkpoint(path, state["step"], state["next_sample"], state["settings"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadCheckpointError(f"{path} is damaged ({error!r})", mend=ANOTHER) from error
    if state.get("format") != FORMAT:
        raise BadCheckpointError(
            f"{path} has format {state.get('format')}, this version reads {FORMAT}",
            mend="use the version of sci_memeff that wrote it",
        )
    if damaged:
        raise BadCheckpointError(f"{path} is damaged ({', '.join(damaged)})", mend=ANOTHER)
    return checkpoint


def restore(checkpoint: Checkpoint, trainer: Trainer) -> None:
    """Put a checkpoint's state into `trainer`; BadCheckpointError lists tensors that do not fit."""
    model, averages, adam = (_load(checkpoint.path / name) for name in FILES)
    weights = trainer.model.state_dict()
    _check_fit(model, weights, checkpoint.path / FILES[0])
    _check_fit(averages, weights, checkpoint.path / FILES[1])
    _check_fit(adam, _states_of(adam, trainer), checkpoint.path / FILES[2])
    trainer.model.load_state_dict(model)
    _restore_states(trainer, averages, adam)
    trainer.step = checkpoint.step
    trainer.next_sample = checkpoint.next_sample


def _check_fit(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: Path) -> None:
    """BadCheckpointError, listing them, where tensors are missing, unexpected or misshapen."""
    lines = [f"missing {name}" for name in wanted if name not in found]
    lines += [f"unexpected {name}" for name in found if name not in wanted]
    lines += [
        f"{name} is {tuple(found[name].shape)}, the model has {tuple(wanted[name].shape)}"
        for name in wanted
        if name in found and found[name].shape != wanted[name].shape
    ]
    if lines:
        more = f" and {len(lines) - LISTED} more" if len(lines) > LISTED else ""
        raise BadCheckpointError(
            f"{path} is of another model: {'; '.join(lines[:LISTED])}{more}",
            mend="use the model settings in the config.yaml of the run that wrote it",
        )


def load_averaged(path: Path) -> dict[str, Tensor]:
    """The averaged weights of one checkpoint, under the model's own names."""
    return _load(read(path).path / FILES[1])


def _is_whole(path: Path) -> bool:
    try:
        read(path)
    except BadCheckpointError:
        return False
    return True


def _found(folder: Path) -> list[Path]:
    """Checkpoints by name, newest first."""
    return sorted(folder.glob(f"{PREFIX}*"), reverse=True)


def _tensors(trainer: Trainer) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """The tensors of each of FILES."""
    optimizer, model = trainer.optimizer, trainer.model.state_dict()
    parameters = dict(trainer.model.named_parameters())
    averages = model | {name: optimizer.average(p) for name, p in parameters.items()}
    adam = {
        f"{key}/{name}": value
        for name, p in parameters.items()
        for key, value in optimizer.state.get(p, {}).items()
        if key != AVERAGE
    }
    model, averages, adam = (
        {n: t.contiguous() for n, t in part.items()} for part in (model, averages, adam)
    )
    return model, averages, adam


def _states_of(adam: Mapping[str, Tensor], trainer: Trainer) -> dict[str, Tensor]:
    """What `adam` should hold, in tensors of its shapes: some parameters may have no states."""
    present = {full_name.partition("/")[2] for full_name in adam}
    return {
        f"{key}/{name}": value
        for name, p in trainer.model.named_parameters()
        if name in present and p.requires_grad
        for key, value in trainer.optimizer.states_of(p).items()
        if key != AVERAGE
    }


def _restore_states(
    trainer: Trainer, averages: Mapping[str, Tensor], adam: Mapping[str, Tensor]
) -> None:
    # torch numbers parameters in their order; a parameter that never had a gradient has no state
    name_of = {p: name for name, p in trainer.model.named_parameters()}
    groups = trainer.optimizer.param_groups
    names = [name_of[p] for group in groups for p in group["params"]]
    states: dict[str, dict[str, Tensor]] = {}
    for full_name, tensor in adam.items():
        key, _, name = full_name.partition("/")
        states.setdefault(name, {AVERAGE: averages[name]})[key] = tensor
    state = {k: states[name] for k, name in enumerate(names) if name in states}
    groups = trainer.optimizer.state_dict()["param_groups"]
    trainer.optimizer.load_state_dict({"state": state, "param_groups": groups})


def _load(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise BadCheckpointError(
            f"{path} cannot be read ({error})", mend="name a whole checkpoint folder"
        ) from error


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(folder: Path) -> None:
    """Have every file of `folder` on disk before its rename can be."""
    for path in [*folder.iterdir(), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
