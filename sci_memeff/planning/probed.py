"""What may be sliced in models that nobody knows: their heaviest inner modules are probed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from sci_memeff.chunking.probing import Independence, explain
from sci_memeff.models import SeamHint
from sci_memeff.planning.rehearsal import Rehearsal
from sci_memeff.planning.units import Found

__all__ = ["Calls", "probed"]

MOST = 8  # probes for a model, of up to half a second each
SHORTEST = 8  # rows that are worth slicing
LEAST = 0.05  # of what a unit keeps
_PLAIN = (bool, int, float, str, torch.dtype, torch.device)


@dataclass(frozen=True)
class _Shape:
    """In place of a tensor, so that none is held."""

    shape: tuple[int, ...]
    dtype: torch.dtype


class Calls:
    """How each structure is called, if all of its calls are given in one way."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[list[Any], TreeSpec] | None] = {}

    def note(self, number: int, args: Any, kwargs: Any) -> None:
        """Take down a call, with shapes for tensors."""
        leaves, spec = tree_flatten((args, kwargs))
        told = [_Shape(tuple(x.shape), x.dtype) if isinstance(x, Tensor) else x for x in leaves]
        known = self._known.setdefault(number, (told, spec))
        if known is None or known[1] != spec or not all(map(_alike, known[0], told)):
            self._known[number] = None

    def example(self, number: int) -> tuple[Any, Any] | None:
        """The call with tensors on the meta device; None where there are several."""
        known = self._known.get(number)
        if known is None:
            return None
        leaves = [
            torch.empty(x.shape, dtype=x.dtype, device="meta") if isinstance(x, _Shape) else x
            for x in known[0]
        ]
        return tree_unflatten(leaves, known[1])


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, _Shape) or isinstance(other, _Shape):
        return one == other
    return one is other or (isinstance(one, _PLAIN) and type(one) is type(other) and one == other)


def probed(rehearsal: Rehearsal, calls: Calls, units: list[str]) -> tuple[Found, dict[int, int]]:
    """Hints for modules inside of `units`, and the rows of each structure that has one.

    From the heaviest module down; what is inside of one that may be sliced is left alone, and so
    is what draws random numbers, since slices would draw others.
    """
    names = {name: module for module, name in rehearsal.names.items()}
    number = rehearsal.structures.number
    axes: dict[int, Independence] = {}
    tried: set[int] = set()
    waiting = list(_inner(rehearsal, names, units))
    while waiting and len(tried) < MOST:
        waiting.sort(key=lambda name: -_saved(rehearsal, names[name]))
        name = waiting.pop(0)
        one = number(names[name])
        if one not in tried:
            tried.add(one)
            axis = _axis(names[name], calls.example(one))
            if axis is not None:
                axes[one] = axis
        if one not in axes:
            waiting += _inner(rehearsal, names, [name])
    return {
        name: (_hint(module, axes[number(module)]),)
        for name, module in names.items()
        if number(module) in axes and any(name.startswith(f"{unit}.") for unit in units)
    }, {one: axis.length for one, axis in axes.items()}


def _inner(rehearsal: Rehearsal, names: dict[str, nn.Module], outer: list[str]) -> Iterator[str]:
    """Of each structure among the modules in `outer`, one child that keeps enough."""
    seen: set[int] = set()
    for name in outer:
        least = LEAST * _saved(rehearsal, names[name])
        for key, child in names[name].named_children():
            number = rehearsal.structures.number(child)
            if number in seen:
                continue
            seen.add(number)
            if isinstance(child, (nn.ModuleList, nn.ModuleDict)):
                yield from _inner(rehearsal, names, [f"{name}.{key}"])
            elif _saved(rehearsal, child) > least:
                yield f"{name}.{key}"


def _saved(rehearsal: Rehearsal, module: nn.Module) -> int:
    profile = rehearsal.kept.get(rehearsal.structures.number(module))
    return 0 if profile is None else profile.saved


def _axis(module: nn.Module, example: tuple[Any, Any] | None) -> Independence | None:
    """The longest that is proven."""
    if example is None or _is_random(module):
        return None
    axes = [axis for axis in explain(module, *example).axes if axis.length >= SHORTEST]
    return max(axes, key=lambda axis: axis.length, default=None)


def _is_random(module: nn.Module) -> bool:
    return any(
        part.training and (getattr(part, "p", 0.0) or getattr(part, "dropout", 0.0))
        for part in module.modules()
        if isinstance(part, (nn.modules.dropout._DropoutNd, nn.MultiheadAttention, nn.RNNBase))
    )


def _hint(module: nn.Module, axis: Independence) -> SeamHint:
    one = type(module)
    return SeamHint(
        module_class=f"{one.__module__}.{one.__qualname__}",
        kind="slice",
        in_dims=dict(axis.in_dims),
        out_dims=axis.out_dims,
        note="probed",
    )
