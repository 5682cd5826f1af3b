"""The seams: attributes of a model that hold a callable, and what each callable must do.

A model calls them; memory policy replaces them. Their plain defaults, `whole`, `in_turn` and
`plainly` here and `sci_memeff.kernels.attention`, work on whole tensors and recompute nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Shaped
from torch import Tensor

__all__ = [
    "CODED_DTYPES",
    "Attend",
    "Codec",
    "Encoded",
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
    in the backward pass, or a slice at a time; or, on the seam "precision", with other dtypes.
    """

    def __call__(
        self, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Evaluate, as the class says; whatever `forward` returns."""
        ...


CODED_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


class Encoded(NamedTuple):
    """A tensor in fewer bytes: the tensors that it came to, and what it was."""

    parts: Tensors
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype


@runtime_checkable
class Codec(Protocol):
    """A frozen value that keeps a tensor of one of `CODED_DTYPES` in fewer bytes.

    The same tensor always comes to the same parts: nothing is drawn from a generator. Infinities
    and NaNs come back as NaNs. Fake tensors are encoded as well, to the same bytes.
    """

    def encode(self, tensor: Tensor) -> Encoded:
        """The tensor in fewer bytes, on its device."""
        ...

    def decode(self, encoded: Encoded) -> Tensor:
        """A new tensor of the same dtype and shape; of its strides, if it had no gaps."""
        ...

    def bytes(self, shape: Sequence[int], dtype: torch.dtype) -> int:
        """What a contiguous tensor comes to, scales included."""
        ...

    @property
    def error(self) -> float:
        """How far an element may be off, against the largest of those that share its scale.

        Rounding to the tensor's own dtype, and what is below 1e-27, come on top.
        """
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
