"""The seams: attributes of a model that hold a callable, and what each callable must do.

A model calls them; memory policy replaces them. Their plain defaults, `whole`, `in_turn` and
`plainly` here and `sci_memeff.kernels.attention`, work on whole tensors and recompute nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Shaped
from torch import Tensor

__all__ = [
    "Attend",
    "Forward",
    "Iterate",
    "Mask",
    "Tensors",
    "Walk",
    "in_turn",
    "plainly",
    "whole",
]

Tensors = tuple[Tensor, ...]
Mask = Shaped  # a mask may be bool or hold 0.0 and 1.0: `Mask[Tensor, "*b i"]`


@runtime_checkable
class Attend(Protocol):
    """softmax(q·kᵀ/√c + Σ biases)·v, the kernel of every attention with heads.

    q is (*, h, i, c), k and v are (*, h, j, c); every bias broadcasts to (*, h, i, j) and may
    need a gradient. The result is (*, h, i, c).
    """

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, biases: Sequence[Tensor] = ()) -> Tensor:
        """Attend, as the class says."""
        ...


@runtime_checkable
class Walk(Protocol):
    """Evaluate `fn(*rows, *shared)`, possibly a slice of the rows at a time.

    `fn` is a method of an `nn.Module`. Slice r of each of its outputs may depend on slice r of
    each of `rows`, on `shared`, and on the module's parameters; on nothing else. `in_dims` says
    along which dimension each of `rows` is sliced (one number serves all), `out_dims` along which
    one each output is joined. Dimensions are negative, so leading batch dimensions are free.
    """

    def __call__(
        self,
        fn: Callable[..., Any],
        *,
        rows: Sequence[Tensor],
        shared: Sequence[Tensor] = (),
        in_dims: int | Sequence[int],
        out_dims: int | Sequence[int],
    ) -> Any:
        """Evaluate, as the class says; a tensor or a tuple of tensors, as `fn` returns."""
        ...


@runtime_checkable
class Iterate(Protocol):
    """Run `steps` in turn, `carry = step(*carry, *context)`; possibly recompute some of them.

    Returns the carry after each step where `every` is true, else a list of the last one alone.
    """

    def __call__(
        self,
        steps: Sequence[Callable[..., Tensors]],
        carry: Tensors,
        *,
        context: Sequence[Tensor] = (),
        every: bool = False,
    ) -> list[Tensors]:
        """Run, as the class says."""
        ...


@runtime_checkable
class Forward(Protocol):
    """Evaluate `forward(*args, **kwargs)` for a module that knows of no seam.

    `forward` is the module's own, so `forward.__self__` is the module. It may be evaluated again
    in the backward pass, or a slice at a time.
    """

    def __call__(
        self, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Evaluate, as the class says; whatever `forward` returns."""
        ...


def whole(
    fn: Callable[..., Any],
    *,
    rows: Sequence[Tensor],
    shared: Sequence[Tensor] = (),
    in_dims: int | Sequence[int],
    out_dims: int | Sequence[int],
) -> Any:
    """The plain `Walk`: every row at once."""
    return fn(*rows, *shared)


def in_turn(
    steps: Sequence[Callable[..., Tensors]],
    carry: Tensors,
    *,
    context: Sequence[Tensor] = (),
    every: bool = False,
) -> list[Tensors]:
    """The plain `Iterate`: one step after another, everything kept for the backward pass."""
    carries = []
    for step in steps:
        carry = step(*carry, *context)
        carries = [*carries, carry] if every else [carry]
    return carries or [carry]


def plainly(forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The plain `Forward`: as if nobody stood between."""
    return forward(*args, **kwargs)
