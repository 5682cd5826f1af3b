"""A training step of somebody else's model, at one size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sci_memeff import Plan

__all__ = ["Case", "doubles_stay_double", "redrawn"]


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is simulated or run, and the plan that was made for it by hand."""

    title: str
    model: nn.Module | Callable[[], nn.Module]
    step: Callable[[nn.Module, Any], Tensor]
    batch: Any
    by_hand: Plan
    lean: Plan | None = None  # for fewer bytes than the package's own checkpointing needs
    optimizer: Callable[[nn.Module], Optimizer] | None = None
    updates: int = 1
    around: Callable[[], AbstractContextManager[Any]] = nullcontext  # while it is simulated or run


@contextmanager
def doubles_stay_double() -> Iterator[None]:
    """`x.float()` leaves float64 alone: packages use it for the highest precision they know."""
    plain = Tensor.float

    def float_or_double(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return x if x.dtype == torch.float64 else plain(x, *args, **kwargs)

    Tensor.float = float_or_double  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        Tensor.float = plain


def redrawn(model: nn.Module, seed: int = 0) -> nn.Module:
    """`model` in float64 with no parameter left at zero, where many layers begin.

    A gradient that is zero everywhere would compare equal to anything.
    """
    generator = torch.Generator().manual_seed(seed)
    model.double()
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter.add_(noise, alpha=0.1)
    return model
