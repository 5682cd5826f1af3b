"""What a walk evaluates, and how it differentiates it: one slice after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge

from sci_memeff.chunking.gradients import Gathered, RowGradient, SummedGradient
from sci_memeff.chunking.parameters import Places, refuse_strangers
from sci_memeff.chunking.slices import Cut, Joined, as_tensors

__all__ = ["Task"]


@dataclass(frozen=True)
class Task:
    """What is evaluated, but for the tensors: its rows, then the shared ones, then parameters."""

    fn: Callable[..., Any]
    cut: Cut
    out_dims: int | Sequence[int]
    num_shared: int
    places: Places

    def evaluate(self, tensors: Sequence[Tensor]) -> Joined:
        """Slice by slice."""
        num_rows = len(self.cut.dims)
        rows, shared = tensors[:num_rows], tensors[num_rows : num_rows + self.num_shared]
        joined = Joined(self.cut, self.out_dims)
        for start, length in self.cut:
            joined.write(self.fn(*self._slices(rows, start, length), *shared), start, length)
        return joined

    def gradient_of(self, i: int, tensor: Tensor) -> Gathered:
        """A place for the gradient of the tensor that comes `i`th."""
        if i < len(self.cut.dims):
            return RowGradient(tensor, self.cut.dims[i], self.cut)
        return SummedGradient(tensor, self.cut)

    def differentiate(
        self,
        tensors: Sequence[Tensor],
        out_dims: Sequence[int],
        grad_outputs: Sequence[Tensor | None],
        gathered: Sequence[Gathered | None],
    ) -> None:
        """Slice by slice, the gradients of those `tensors` that `gathered` holds a place for."""
        num_rows = len(self.cut.dims)
        num_inputs = num_rows + self.num_shared
        rows = [tensor.detach() for tensor in tensors[:num_rows]]
        shared = [tensor.detach() for tensor in tensors[num_rows:num_inputs]]
        for one, place in zip(shared, gathered[num_rows:], strict=False):
            one.requires_grad_(place is not None)
        parameters = [nn.Parameter(tensor) for tensor in tensors[num_inputs:]]
        with self.places.holding(parameters):
            for start, length in self.cut:
                slices = self._slices(rows, start, length)
                for one, place in zip(slices, gathered, strict=False):
                    one.requires_grad_(place is not None)
                parts = [
                    None if grad is None else grad.narrow(dim, start, length)
                    for grad, dim in zip(grad_outputs, out_dims, strict=True)
                ]
                leaves = [*slices, *shared, *parameters]
                found = self._gradients(leaves, parts, check=start == 0)
                for i, place in enumerate(gathered):
                    if place is not None:
                        place.add(found[i], start, length)
                        found[i] = None  # before the next one is written

    def _gradients(
        self, leaves: Sequence[Tensor], grad_outputs: Sequence[Tensor | None], *, check: bool
    ) -> list[Tensor | None]:
        """One slice's gradients, in the order of `leaves`."""
        num_inputs = len(self.cut.dims) + self.num_shared
        pieces = as_tensors(self.fn(*leaves[:num_inputs]))
        wanted = [
            (get_gradient_edge(piece), grad)
            for piece, grad in zip(pieces, grad_outputs, strict=True)
            if grad is not None and piece.requires_grad
        ]
        del pieces  # the graph keeps those that it needs
        found: list[Tensor | None] = [None] * len(leaves)
        if not wanted:
            return found
        edges, grads = zip(*wanted, strict=True)
        if check:
            refuse_strangers(self.fn, edges, leaves)
        places = [i for i, leaf in enumerate(leaves) if leaf.requires_grad]
        some = torch.autograd.grad(edges, [leaves[i] for i in places], grads, allow_unused=True)
        for i, gradient in zip(places, some, strict=True):
            found[i] = gradient
        return found

    def _slices(self, rows: Sequence[Tensor], start: int, length: int) -> list[Tensor]:
        return [
            row.narrow(dim, start, length) for row, dim in zip(rows, self.cut.dims, strict=True)
        ]
