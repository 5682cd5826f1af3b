"""One example as the batch of one that a training step takes, on the step's device."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sci_memeff.data.batch import make_batch
from sci_memeff.data.example import Example
from sci_memeff.data.features.schema import AXES, RESIDUES

__all__ = ["Batch", "first_residues", "last_pass", "to_batch"]

Batch = dict[str, Tensor]


def to_batch(example: Example, device: torch.device) -> Batch:
    """Features (1, …, R) on `device`; what is the same in all R passes is there once."""
    return {name: _moved(tensor, device) for name, tensor in make_batch([example]).items()}


def last_pass(batch: Mapping[str, Tensor]) -> Batch:
    """The features of the last recycling pass, the one whose outputs are scored."""
    return {name: tensor[..., -1] for name, tensor in batch.items()}


def first_residues(batch: Mapping[str, Tensor], count: int) -> Batch:
    """The same of a shorter protein: of every axis of residues, the first `count`."""
    found = {}
    for name, tensor in batch.items():
        for dim, axis in enumerate(AXES[name], start=1):
            if axis == RESIDUES:
                tensor = tensor.narrow(dim, 0, min(count, tensor.shape[dim]))
        found[name] = tensor
    return found


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    if tensor.stride(-1) == 0:  # a move would write out every repetition
        return tensor[..., :1].to(device).expand_as(tensor)
    return tensor.to(device)
