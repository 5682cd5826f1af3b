"""When two modules are the same to a simulation: equal classes, settings, shapes and seams."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from enum import Enum
from types import BuiltinFunctionType, FunctionType, MethodType, NoneType
from typing import Any

import torch
from torch import Tensor, nn

from sci_memeff.planning.meter import device_of, storage_of
from sci_memeff.planning.tree import Tree, flatten

__all__ = ["Interposed", "Structures", "signature_of"]

# what nn.Module keeps for itself; its hooks are left out since a simulation's copies have the same
_OWN = set(vars(nn.Module()))


class Interposed:
    """What stands as a module's `forward` in a simulation, before the one that is simulated."""

    inner: Any


class Structures:
    """A number for everything about a module that a simulation can depend on.

    Modules with attributes that cannot be compared are equal to themselves alone.
    """

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._of: dict[int, int] = {}

    def changed(self) -> None:
        """Modules may hold other things in their seams now."""
        self._of.clear()

    def number(self, module: nn.Module) -> int:
        """Equal for modules that are the same, whatever their names and values."""
        found = self._of.get(id(module))
        if found is None:
            found = self._numbers.setdefault(self._described(module), len(self._numbers))
            self._of[id(module)] = found
        return found

    def _described(self, module: nn.Module) -> Hashable:
        own = {k: v for k, v in vars(module).items() if k not in _OWN or k == "training"}
        forward = own.pop("forward", None)
        while isinstance(forward, Interposed):
            forward = forward.inner
        if isinstance(forward, MethodType):
            forward = forward.__func__
        return (
            type(module),
            _frozen(getattr(forward, "use", forward)),
            _frozen(getattr(forward, "precision", None)),
            tuple((name, _frozen(value)) for name, value in sorted(own.items())),
            tuple((name, _meta(x)) for name, x in module._parameters.items()),
            tuple((name, _meta(x)) for name, x in module._buffers.items()),
            tuple(
                (name, None if child is None else self.number(child))
                for name, child in module._modules.items()
            ),
        )


def signature_of(values: Any) -> tuple[Hashable, list[Any], Tree] | None:
    """What a call's arguments are, but for the values of tensors; and the leaves of their tree.

    None where something among them cannot be compared.
    """
    leaves, tree = flatten(values)
    groups: dict[int, tuple[int, int]] = {}  # of storages: their number, and the first offset
    told: list[Hashable] = []
    places: dict[int, int] = {}  # some ask whether two arguments are one and the same
    for place, leaf in enumerate(leaves):
        if isinstance(leaf, Tensor):
            if leaf.layout != torch.strided or type(leaf).__name__ == "DTensor":
                return None
            offset = int(leaf.storage_offset())
            group, first = groups.setdefault(storage_of(leaf), (len(groups), offset))
            size = int(leaf.untyped_storage().nbytes())
            same = places.setdefault(id(leaf), place)
            told.append((_meta(leaf), offset - first, group, size, same))
        else:
            if not isinstance(leaf, _SIMPLE):
                return None
            told.append(leaf)
    return (tree, tuple(told)), leaves, tree


_SIMPLE = (
    NoneType,
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    Enum,
    torch.dtype,
    torch.device,
    torch.memory_format,
    FunctionType,
    BuiltinFunctionType,
)


class _Unlike:
    """Something that equals itself alone."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __hash__(self) -> int:
        return id(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Unlike) and other._value is self._value


def _frozen(value: Any) -> Hashable:
    if isinstance(value, Interposed):
        return _frozen(value.inner)
    if isinstance(value, Tensor):
        return _meta(value)
    if isinstance(value, (list, tuple)):
        return type(value), tuple(_frozen(x) for x in value)
    if isinstance(value, (dict, set, frozenset)):
        return type(value), tuple(_frozen(x) for x in _in_order(value))
    if isinstance(value, nn.Module):
        return _Unlike(value)
    try:
        hash(value)
    except TypeError:
        return _Unlike(value)
    return value


def _in_order(value: Any) -> Iterable[Any]:
    return value.items() if isinstance(value, dict) else sorted(value, key=repr)


def _meta(tensor: Tensor | None) -> Hashable:
    if tensor is None:
        return None
    if tensor.layout != torch.strided:
        return tensor.shape, tensor.dtype, tensor.layout
    return (
        tuple(tensor.shape),
        tensor.stride(),
        tensor.dtype,
        device_of(tensor),
        tensor.requires_grad,
    )
