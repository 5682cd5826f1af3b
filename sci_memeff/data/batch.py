"""Examples as tensors: a leading batch dimension, a trailing one of passes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sci_memeff.data.example import Example
from sci_memeff.errors import BadDataError

__all__ = ["make_batch"]


def make_batch(examples: Sequence[Example]) -> dict[str, Tensor]:
    """Tensors (B, …, R) of B examples; what is the same in all R passes is expanded, not copied.

    Several examples must agree in sizes (`DataConfig.fixed_size`) and passes, else BadDataError.
    """
    first = examples[0]
    batch = {}
    for name, values in first.features.items():
        for example in examples[1:]:
            other = example.features.get(name)
            if other is None or other.shape != values.shape:
                raise BadDataError(
                    f"{name} is {None if other is None else other.shape}, "
                    f"that of {first.name} is {values.shape}",
                    source=example.name,
                    mend="batch one example at a time, or set fixed_size and give the examples "
                    "of a batch the same number of passes",
                )
        batch[name] = _stacked([example.features[name] for example in examples])
    return batch


def _stacked(arrays: Sequence[np.ndarray]) -> Tensor:
    passes = arrays[0].shape[-1]
    if all(array.strides[-1] == 0 for array in arrays):  # one array, repeated
        arrays = [array[..., :1] for array in arrays]
    tensors = [torch.from_numpy(np.array(array, order="K")) for array in arrays]
    stacked = tensors[0][None] if len(tensors) == 1 else torch.stack(tensors)
    return stacked.expand(*stacked.shape[:-1], passes)
