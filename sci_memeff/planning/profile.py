"""What one call of a module does to memory, recorded once on fake tensors of its arguments' shapes.

Levels are bytes beyond those that were alive when the call, or its backward pass, began.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from sci_memeff.planning.meter import Cost, CostOf, Made, device_of, storage_of
from sci_memeff.planning.tree import Tree

__all__ = [
    "Backward",
    "Call",
    "Layout",
    "NoProfileError",
    "Profile",
    "layout_of",
    "layouts_of",
]


class NoProfileError(Exception):
    """A call that must be run each time: it changes or returns what it was given, or cannot run."""


@dataclass(frozen=True)
class Layout:
    """How a tensor lies in its storage."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    dtype: torch.dtype
    device: torch.device
    requires_grad: bool
    storage: int  # tensors of one call with the same number share it
    nbytes: int  # of the storage
    is_view: bool = False
    twin: int | None = None  # the place of the same tensor among the leaves before

    @property
    def is_whole(self) -> bool:
        """Whether it may have been made as it is: in order, or as no view, and all of its bytes."""
        size, stride = 1, []
        for length in reversed(self.shape):
            stride.append(size)
            size *= length
        if tuple(reversed(stride)) != self.stride:
            if self.is_view or 0 in self.shape:
                return False
            size = 1 + sum((n - 1) * step for n, step in zip(self.shape, self.stride, strict=True))
        return size * self.dtype.itemsize == self.nbytes and not self.offset

    def made(self, storages: dict[int, Tensor]) -> Tensor:
        """A tensor like that, in its storage."""
        dtype, device = self.dtype, self.device
        if self.storage not in storages and self.is_whole:
            found = torch.empty_strided(self.shape, self.stride, dtype=dtype, device=device)
            storages[self.storage] = found
            return found
        if self.storage not in storages:
            storages[self.storage] = torch.empty(self.nbytes, dtype=torch.uint8, device=device)
        there = storages[self.storage]
        if there.dtype != dtype:
            flat = there.as_strided((self.nbytes // there.dtype.itemsize,), (1,), 0)
            there = flat.view(torch.uint8)[: self.nbytes // dtype.itemsize * dtype.itemsize]
            there = there.view(dtype)
        return there.as_strided(self.shape, self.stride, self.offset)


@dataclass(frozen=True)
class Backward:
    """A call's backward pass, from the moment that its outputs' gradients are there."""

    stretches: tuple[int, ...]
    """Peaks between the moments at which something that the call took or gave is freed."""
    deaths: tuple[tuple[int, int], ...]
    """What is freed then: its place among `saved_inputs`, `saved_outputs`, then the outputs'
    gradients; its bytes."""
    gradients: tuple[Layout | int | None, ...]
    """Of the inputs that require one; a number is the output whose gradient is handed through."""
    left: int
    """Bytes that stay: the parameters' gradients."""
    cost: Cost
    composition: Counter[Made] = field(compare=False, repr=False)


@dataclass(frozen=True)
class Profile:
    """A call's forward pass, and its backward passes as they turn out to be needed."""

    peak: int
    peak_needed: int
    """The same, up to the last tensor that the graph keeps: a recomputation ends there."""
    outputs: tuple[Any, ...]
    """Leaves: a Layout, or what it is where it is no tensor."""
    tree: Tree
    saved: int
    """Bytes that only the graph keeps."""
    saved_inputs: tuple[int, ...]
    saved_outputs: tuple[int, ...]
    cost: Cost
    cost_needed: Cost
    elsewhere: int
    """Bytes that the graph keeps on another device."""
    composition: Counter[Made] = field(compare=False, repr=False)
    composition_saved: Counter[Made] = field(compare=False, repr=False)
    operations: int
    backward: Backward | None = None


@dataclass(frozen=True)
class Call:
    """Everything that a recording runs."""

    module: nn.Module
    forward: Callable[..., Any]
    leaves: tuple[Any, ...]
    """Of the arguments: Layouts, and what is no tensor."""
    tree: Tree
    mode: FakeTensorMode
    device: torch.device
    seconds_of: CostOf
    grad: bool
    autocast: tuple[tuple[str, bool, torch.dtype], ...]
    wanted: tuple[bool, ...] | None = None
    """Which outputs get a gradient; None: all that can."""
    accumulates: bool = False
    """Whether parameters have a gradient already."""
    drops: bool = False
    """Whether whatever the graph would keep is dropped, as in a checkpoint's forward pass."""


def layouts_of(leaves: Sequence[Any]) -> tuple[Any, ...]:
    """Each tensor's layout, and everything else as it is."""
    numbers: dict[int, int] = {}
    places: dict[int, int] = {}
    found: list[Any] = []
    for place, x in enumerate(leaves):
        if isinstance(x, Tensor):
            first = places.setdefault(id(x), place)
            layout = layout_of(x, numbers.setdefault(storage_of(x), len(numbers)))
            found.append(layout if first == place else replace(layout, twin=first))
        else:
            found.append(x)
    return tuple(found)


def layout_of(tensor: Tensor, storage: int) -> Layout:
    """How a tensor lies in the storage of this number."""
    return Layout(
        tuple(tensor.shape),
        tensor.stride(),
        int(tensor.storage_offset()),
        tensor.dtype,
        device_of(tensor),
        tensor.requires_grad,
        storage,
        int(tensor.untyped_storage().nbytes()),
        tensor._is_view(),
    )
