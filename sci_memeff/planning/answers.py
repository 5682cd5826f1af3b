"""What a step answers: its loss and every gradient, of which random numbers nobody else sees."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sci_memeff.planning.copies import copied_batch

__all__ = ["INPUT", "Answer", "Step", "answer"]

INPUT = "the batch"  # begins the names of inputs; no parameter's has a space

Step = Callable[[nn.Module, Any], Tensor | None]


@dataclass(frozen=True)
class Answer:
    """The loss, None where the step keeps it to itself, and gradients by name, on the CPU.

    A gradient is None where nothing was found to flow.
    """

    loss: float | None
    gradients: dict[str, Tensor | None]


def answer(
    model: nn.Module, step: Step, batch: Any, *, seed: int, dtype: torch.dtype | None = None
) -> Answer:
    """Forward and backward of `step` on a copy of `batch`, with the random numbers of `seed`.

    The gradients are taken away from `model`, so that one run's are gone before the next begins.
    """
    given, inputs = copied_batch(batch, dtype)
    named = {f"{INPUT}'s {path}" if path else INPUT: x for path, x in inputs.items()}
    watched = dict(model.named_parameters()) | named
    try:
        with _seeded(seed, list(watched.values())):
            loss = step(model, given)
            if isinstance(loss, Tensor) and loss.requires_grad:
                loss.backward()
        value = float(loss.detach()) if isinstance(loss, Tensor) else None
        gradients = {name: _taken(x) for name, x in watched.items() if x.requires_grad}
        return Answer(value, gradients)
    finally:
        for x in watched.values():
            x.grad = None


def _taken(tensor: Tensor) -> Tensor | None:
    gradient, tensor.grad = tensor.grad, None
    if gradient is None:
        return None
    gradient = gradient.to_dense() if gradient.layout != torch.strided else gradient
    return gradient.detach().to("cpu")


@contextmanager
def _seeded(seed: int, tensors: Sequence[Tensor]) -> Iterator[None]:
    """Seed the generators of torch, numpy and Python; leave them afterwards as they were."""
    devices = sorted({x.device.index or 0 for x in tensors if x.device.type == "cuda"})
    ours, numpys = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed)
            yield
    finally:
        random.setstate(ours)
        np.random.set_state(numpys)
