"""What an optimizer's states take, and what its step takes for a moment more."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.optim import Optimizer

from sci_memeff.planning.meter import Meter, device_of, storage_of, tensors_in

__all__ = ["learn_states"]


def learn_states(
    optimizer: Callable[[nn.Module], Optimizer],
    on_meta: nn.Module,
    model: nn.Module,
    mode: FakeTensorMode,
) -> tuple[list[Tensor], int, int]:
    """States of `model` where they act in its backward pass; their bytes; those of a step.

    Two steps are made on the meta device, where they are much faster than on fake tensors, and the
    second one is looked at: from then on states are there from the start.
    """
    update = optimizer(on_meta)
    _with_gradients(on_meta)
    update.step()
    update.zero_grad()
    step_bytes = _step(on_meta, update)
    states = _states(update)
    state_bytes = sum({storage_of(x): x.nbytes for x in states}.values())
    if not any(_acts_inside(p) for p in on_meta.parameters()):
        return [], state_bytes, step_bytes
    with mode:
        update = optimizer(model)
        _with_gradients(model)
        update.step()
        update.zero_grad()
    return _states(update), state_bytes, step_bytes


def _states(update: Optimizer) -> list[Tensor]:
    return tensors_in([list(states.values()) for states in update.state.values()])


def _step(model: nn.Module, update: Optimizer) -> int:
    """Bytes that a step takes for a moment, and no longer."""
    _with_gradients(model)
    parameters = list(model.parameters())
    meter = Meter(device_of(parameters[0]), lambda *_: 0.0)
    for x in (*parameters, *(p.grad for p in parameters if p.grad is not None), *_states(update)):
        meter.see(x, "")
    meter.restart()
    with meter:
        update.step()
    peak = meter.peak - meter.level
    update.zero_grad()
    return peak


def _with_gradients(model: nn.Module) -> None:
    for p in model.parameters():
        p.grad = torch.empty_like(p) if p.requires_grad else None


def _acts_inside(parameter: nn.Parameter) -> bool:
    """Whether something happens as soon as it has its gradient, in the backward pass."""
    return bool(getattr(parameter, "_post_accumulate_grad_hooks", None))
