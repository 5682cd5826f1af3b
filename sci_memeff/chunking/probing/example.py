"""One call of a module, as shapes: its axes, and random operands for it at other sizes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from sci_memeff.chunking.probing.operand import Draw, Key, Operand

__all__ = ["Axis", "Example", "Sizes"]

Axis = tuple[int, int]  # which operand, and which of its dimensions, negative
Sizes = Mapping[Axis, int]

_LARGEST: dict[Draw, Draw] = {"masks": "positive", "binary": "normal"}  # where masks would be


@dataclass(frozen=True)
class Example:
    """One call: its tensors as operands; everything else is passed as it is."""

    operands: tuple[Operand, ...]
    leaves: tuple[Any, ...]  # of arguments; None where an operand stands
    places: tuple[int, ...]  # of operands among the leaves
    spec: TreeSpec

    @classmethod
    def of(cls, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Example:
        """Of the arguments of a call."""
        leaves, spec = tree_flatten((tuple(args), dict(kwargs)))
        keys = list(_keys(args, kwargs))
        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        operands = tuple(Operand.of(leaves[i], keys[i]) for i in places)
        rest = tuple(None if isinstance(leaf, Tensor) else leaf for leaf in leaves)
        return cls(operands, rest, tuple(places), spec)

    def call(self, tensors: Sequence[Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Its arguments, with `tensors` for operands."""
        leaves = list(self.leaves)
        for place, tensor in zip(self.places, tensors, strict=True):
            leaves[place] = tensor
        return tree_unflatten(leaves, self.spec)

    def opaque(self) -> list[Any]:
        """Arguments, or parts of them, that hold tensors which nobody could cut or draw."""
        return [leaf for leaf in self.leaves if leaf is not None and _holds_tensors(leaf)]

    def axes(self) -> dict[Axis, int]:
        """All that are longer than 1, with their lengths: those of 1 may be there to broadcast."""
        return {
            (i, d): operand.shape[d]
            for i, operand in enumerate(self.operands)
            for d in range(-len(operand.shape), 0)
            if operand.shape[d] > 1
        }

    def shapes(self, sizes: Sizes) -> list[tuple[int, ...]]:
        """Of its operands at `sizes`; axes that are not named there keep their lengths."""
        return [
            tuple(sizes.get((i, d), x.shape[d]) for d in range(-len(x.shape), 0))
            for i, x in enumerate(self.operands)
        ]

    def num_bytes(self, sizes: Sizes) -> int:
        """Of all operands at `sizes`, with 8 bytes an element."""
        return sum(8 * math.prod(shape) for shape in self.shapes(sizes))

    def drawn(self, sizes: Sizes, draw: Draw, own: bool, g: torch.Generator) -> list[Tensor]:
        """Random operands of `sizes`; for "masks" and "binary" all but the largest hold 0 and 1.

        In "binary" integers do, too, so that they differ where those of the call are all alike.
        """
        shapes = self.shapes(sizes)
        most = max((math.prod(shape) for shape in shapes), default=0)
        own = own and draw != "binary"
        kinds: list[Draw] = [
            _LARGEST.get(draw, draw) if math.prod(x) == most else draw for x in shapes
        ]
        return [
            operand.drawn(shape, kind, own, g)
            for operand, shape, kind in zip(self.operands, shapes, kinds, strict=True)
        ]


def _keys(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[Key]:
    """For each leaf of the arguments, the argument that it is or is in."""
    for key, value in (*enumerate(args), *kwargs.items()):
        yield from [key] * len(tree_flatten(value)[0])


def _holds_tensors(value: Any, depth: int = 3) -> bool:
    """Whether a tensor is in an object, or in those that it holds."""
    if isinstance(value, (Tensor, nn.Module)) or depth == 0:
        return depth > 0
    if isinstance(value, (list, tuple, set)):
        inside = list(value)
    elif isinstance(value, dict):
        inside = list(value.values())
    else:
        slots = [name for kind in type(value).__mro__ for name in vars(kind).get("__slots__", ())]
        inside = [*getattr(value, "__dict__", {}).values()]
        inside += [getattr(value, name, None) for name in slots]
    return any(_holds_tensors(x, depth - 1) for x in inside)
