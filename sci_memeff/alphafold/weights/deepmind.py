"""DeepMind's weights, `params_model_*.npz`: arrays under the module names of its JAX code."""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from sci_memeff.alphafold.weights.fit import copy_into
from sci_memeff.alphafold.weights.names import ARRAYS, STACKED
from sci_memeff.errors import BadWeightsError

__all__ = ["load_deepmind"]


def load_deepmind(model: nn.Module, path: Path) -> None:
    """Load a monomer's `params_model_*.npz`, with or without PAE head and templates.

    Nothing in the file is executed. BadWeightsError, before anything is changed, for a file that
    is damaged, holds pickled objects, or does not fit the model.
    """
    weights: dict[str, Tensor] = {}
    for name, array in _read(path).items():
        weights |= _tensors(name, array)
    copy_into(model, weights, path)


def _read(path: Path) -> dict[str, np.ndarray]:
    if not Path(path).is_file():
        raise BadWeightsError(
            f"{path}: there is no such file", mend="give the path of a params_model_*.npz"
        )
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays = dict(archive)
    # A damaged file makes np.load raise almost anything.
    except Exception as error:
        raise BadWeightsError(
            f"{path} is damaged, holds pickled objects, or is no .npz: {error}",
            mend="unpack or download DeepMind's alphafold_params again",
        ) from error
    strange = [f"{name} {array.dtype}" for name, array in arrays.items() if array.dtype.kind != "f"]
    if strange:
        raise BadWeightsError(
            f"{path}: {len(strange)} arrays are not of floating point ({', '.join(strange[:3])})",
            mend="give a params_model_*.npz as DeepMind published it",
        )
    return arrays


def _tensors(name: str, array: np.ndarray) -> dict[str, Tensor]:
    """The tensors that one array is; under its own name if the network has no place for it."""
    if name in ARRAYS:
        place = ARRAYS[name]
        return {place.name: _tensor(array, place.num_input_axes)}
    if name in STACKED:
        place = STACKED[name]
        return {
            place.name.format(i): _tensor(np.asarray(layer), place.num_input_axes)
            for i, layer in enumerate(np.atleast_1d(array))
        }
    return {name: torch.from_numpy(array)}


def _tensor(array: np.ndarray, num_input_axes: int) -> Tensor:
    """[out, in], as torch keeps a matrix, or a vector; as it is if it has too few axes."""
    if num_input_axes == 0:
        return torch.from_numpy(array.reshape(-1))
    if array.ndim <= num_input_axes:
        return torch.from_numpy(array)
    inputs, outputs = (
        prod(s) for s in (array.shape[:num_input_axes], array.shape[num_input_axes:])
    )
    return torch.from_numpy(np.ascontiguousarray(array.reshape(inputs, outputs).T))
