"""Weights to start from, wherever they are: a run of this package, or published ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import nn

from sci_memeff.alphafold.weights import copy_into, load_weights
from sci_memeff.errors import BadWeightsError
from sci_memeff.training.checkpoint import STATE, load_averaged, newest_good
from sci_memeff.training.folder import RunFolder

__all__ = ["checkpoint_of", "load_any"]

_NAME_WEIGHTS = "name a run folder, one of its checkpoints, an OpenFold .pt or a DeepMind .npz"


def checkpoint_of(path: Path, warn: Callable[[str], None]) -> Path:
    """The checkpoint that a folder is, or the newest whole one of the run that it holds."""
    if (path / STATE).exists():
        return path
    for folder in (RunFolder(path).checkpoints, path):
        found = newest_good(folder, warn)
        if found is not None:
            return found.path
    raise BadWeightsError(f"{path} is a folder without checkpoints", mend=_NAME_WEIGHTS)


def load_any(model: nn.Module, path: Path, warn: Callable[[str], None]) -> None:
    """Load the averaged weights of a run folder or checkpoint, or those of a published file.

    `warn` is told of damaged checkpoints that are passed over. BadWeightsError lists tensors that
    are missing or have another shape.
    """
    if not path.exists():
        raise BadWeightsError(f"{path}: there is no such file or folder", mend=_NAME_WEIGHTS)
    if path.suffix == ".safetensors":
        raise BadWeightsError(f"{path} is one file of a checkpoint", mend=f"name {path.parent}")
    if not path.is_dir():
        load_weights(model, path)
        return
    folder = checkpoint_of(path, warn)
    copy_into(model, load_averaged(folder), folder)
