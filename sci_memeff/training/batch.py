"""One example as the batch of one that a training step takes, on the step's device."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sci_memeff.data.batch import make_batch
from sci_memeff.data.example import Example

__all__ = ["Batch", "last_pass", "to_batch"]

Batch = dict[str, Tensor]


def to_batch(example: Example, device: torch.device) -> Batch:
    """Features (1, …, R) on `device`; what is the same in all R passes is there once."""
    return {name: _moved(tensor, device) for name, tensor in make_batch([example]).items()}


def last_pass(batch: Mapping[str, Tensor]) -> Batch:
    """The features of the last recycling pass, the one whose outputs are scored."""
    return {name: tensor[..., -1] for name, tensor in batch.items()}


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    if tensor.stride(-1) == 0:  # a move would write out every repetition
        return tensor[..., :1].to(device).expand_as(tensor)
    return tensor.to(device)
