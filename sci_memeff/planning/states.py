"""What an optimizer's states take, and what its step takes for a moment more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode

from sci_memeff.measure.simulate import refusing_values
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
    second one is looked at: from then on states are there from the start. Optimizers that fail
    there, such as one with states on the default device, make them on fake tensors. What they read
    of a tensor is taken for 1: it may decide how far they go, and not what that takes.
    """
    try:
        with _Ones():
            update, step_bytes = _two_steps(optimizer, on_meta)
    except RuntimeError:
        with refusing_values(), mode, _Ones():
            update, step_bytes = _two_steps(optimizer, model)
        return _states(update), 0, step_bytes
    states = _states(update)
    state_bytes = sum({storage_of(x): x.nbytes for x in states}.values())
    if not any(_acts_inside(p) for p in on_meta.parameters()):
        return [], state_bytes, step_bytes
    with mode, _Ones():
        update = optimizer(model)
        _with_gradients(model)
        update.step()
        update.zero_grad()
    return _states(update), state_bytes, step_bytes


def _two_steps(
    optimizer: Callable[[nn.Module], Optimizer], model: nn.Module
) -> tuple[Optimizer, int]:
    update = optimizer(model)
    _with_gradients(model)
    update.step()
    update.zero_grad()
    return update, _step(model, update)


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
    before = meter.level  # the step may let gradients go
    with meter:
        update.step()
    update.zero_grad()
    return meter.peak - before


def _with_gradients(model: nn.Module) -> None:
    """Every parameter has one, unless something takes it in the backward pass."""
    inside = []
    for p in model.parameters():
        p.grad = torch.empty_like(p) if p.requires_grad else None
        if p.requires_grad and _acts_inside(p):
            p.grad = None
            inside.append(p.sum())
    if inside:
        torch.stack(inside).sum().backward()


def _acts_inside(parameter: nn.Parameter) -> bool:
    """Whether something happens as soon as it has its gradient, in the backward pass."""
    return bool(getattr(parameter, "_post_accumulate_grad_hooks", None))


class _Ones(TorchDispatchMode):
    """Answers where a tensor that has no values is asked for one."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            asked = args[0]
            if asked.is_meta or (isinstance(asked, FakeTensor) and asked.constant is None):
                return {torch.bool: True}.get(asked.dtype, 1.0 if asked.is_floating_point() else 1)
        return func(*args, **(kwargs or {}))
