"""Tensors in the arguments and results of a call, records of a model's own included.

torch's trees take a dataclass that nobody registered for a leaf, and so for a constant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from torch import nn
from torch.utils import _pytree as pytree

__all__ = ["Tree", "flatten"]


@dataclass(frozen=True)
class Tree:
    """What a value is but for its leaves; equal for values that differ in those alone."""

    kind: type | None
    """None for a leaf."""
    told: str = ""
    parts: tuple[Tree, ...] = ()
    rebuild: Callable[[list[Any]], Any] | None = field(default=None, compare=False, repr=False)

    def filled(self, leaves: Sequence[Any]) -> Any:
        """The value with these leaves."""
        return self._filled(iter(leaves))

    def _filled(self, leaves: Any) -> Any:
        if self.rebuild is None:
            return next(leaves)
        return self.rebuild([part._filled(leaves) for part in self.parts])


LEAF = Tree(None)


def flatten(value: Any) -> tuple[list[Any], Tree]:
    """The leaves, and the tree that `filled` puts them into again."""
    leaves: list[Any] = []
    return leaves, _tree(value, leaves)


def _tree(value: Any, leaves: list[Any]) -> Tree:
    kind = type(value)
    node = pytree.SUPPORTED_NODES.get(pytree._get_node_type(value))
    if node is not None:
        children, context = node.flatten_fn(value)
        parts = tuple(_tree(child, leaves) for child in children)
        unflatten = node.unflatten_fn
        return Tree(kind, repr(context), parts, lambda found: unflatten(found, context))
    if is_dataclass(value) and not isinstance(value, (type, nn.Module)):
        names = [one.name for one in fields(value)]
        parts = tuple(_tree(getattr(value, name), leaves) for name in names)
        return Tree(kind, ",".join(names), parts, lambda found: _record(kind, names, found))
    leaves.append(value)
    return LEAF


def _record(kind: type, names: list[str], values: list[Any]) -> Any:
    """A dataclass as it was: what its constructor would do has been done."""
    made = object.__new__(kind)
    for name, value in zip(names, values, strict=True):
        object.__setattr__(made, name, value)
    return made
