"""Calling the copy: its outputs as a list, or a refusal in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from sci_memeff.chunking.probing.double import tensors_held
from sci_memeff.chunking.probing.example import Example, Sizes
from sci_memeff.chunking.probing.operand import Draw
from sci_memeff.chunking.probing.rows import Rows

__all__ = ["RefusedError", "Runs", "same"]


class RefusedError(Exception):
    """What stands in the way, in words. It never leaves `explain`."""


@dataclass
class Runs:
    """A module in float64 that is called with operands of an example's kind.

    `own` says that integers are drawn from the example's own values.
    """

    module: nn.Module
    example: Example
    g: torch.Generator
    own: bool = True

    def drawn(self, sizes: Sizes, draw: Draw) -> list[Tensor]:
        """Random operands."""
        return self.example.drawn(sizes, draw, self.own, self.g)

    def outputs(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Of one call; refused where it raises, or returns something else than tensors."""
        args, kwargs = self.example.call(tensors)
        try:
            found = self.module(*args, **kwargs)
        except Exception as error:
            message = str(error).strip().splitlines() or [""]
            raise RefusedError(f"it raises {type(error).__name__}: {message[0][:200]}") from error
        return _outputs(found)

    def sliced(
        self, tensors: Sequence[Tensor], rows: Rows, start: int, length: int
    ) -> list[Tensor]:
        """Outputs with `length` rows from `start` alone; all operands that are no rows whole."""
        tensors = list(tensors)
        for i, d in rows.axes:
            tensors[i] = tensors[i].narrow(d, start, length)
        return self.outputs(tensors)

    def refuse_traces(self, sizes: Sizes) -> None:
        """Refused where a call gives another answer than the one before, or writes somewhere."""
        tensors = self.drawn(sizes, "normal")
        self.outputs(tensors)  # a first call may fill caches
        before, first = _versions(self.module, tensors), self.outputs(tensors)
        if not _unwritten(_versions(self.module, tensors), before):
            raise RefusedError(
                "its forward writes to its inputs, or to tensors that the module holds"
            )
        for one, other in zip(first, self.outputs(tensors), strict=True):
            if not same(one, other, 0.0):
                raise RefusedError(
                    "two calls give two answers: it draws random numbers, or remembers"
                )


def same(found: Tensor, wanted: Tensor, tolerance: float, scale: float | None = None) -> bool:
    """Whether they agree to `tolerance` of `scale`, the largest of `wanted` if it is not given."""
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return False
    if not (wanted.is_floating_point() or wanted.is_complex()):
        return torch.equal(found, wanted)
    if scale is None:
        scale = largest(wanted)
    if not wanted.numel() or (found - wanted).abs().max() <= tolerance * scale:
        return True
    return torch.allclose(found, wanted, rtol=0.0, atol=tolerance * scale, equal_nan=True)


def largest(tensor: Tensor) -> float:
    """The largest magnitude among the finite elements."""
    finite = tensor.detach().abs().nan_to_num(0.0, 0.0, 0.0)
    return finite.max().item() if finite.numel() else 0.0


def _outputs(found: Any) -> list[Tensor]:
    leaves = tree_flatten(found)[0]
    if not all(x is None or isinstance(x, Tensor) for x in leaves):
        kinds = sorted({type(x).__name__ for x in leaves if not isinstance(x, Tensor)})
        raise RefusedError(f"it returns {', '.join(kinds)}, which cannot be joined from slices")
    tensors = [x for x in leaves if x is not None]
    if not tensors:
        raise RefusedError("it returns no tensor")
    for tensor in tensors:
        if type(tensor) not in (Tensor, nn.Parameter) or tensor.device.type != "cpu":
            kind = f"a {type(tensor).__name__} on {tensor.device}"
            raise RefusedError(f"it returns {kind} when all its arguments are tensors on the CPU")
    return tensors


def _versions(module: nn.Module, tensors: Sequence[Tensor]) -> list[tuple[Tensor, int]]:
    return [(x, x._version) for x in (*tensors, *tensors_held(module))]


def _unwritten(now: list[tuple[Tensor, int]], before: list[tuple[Tensor, int]]) -> bool:
    return len(now) == len(before) and all(
        one is other and version == old
        for (one, version), (other, old) in zip(now, before, strict=True)
    )
