"""How an output of a walk came about: for a later walk that would rather repeat it than keep it."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sci_memeff.chunking.ambient import Autocast, GeneratorStates
from sci_memeff.chunking.slices import as_tensors
from sci_memeff.chunking.task import Task

__all__ = ["Made", "note_recipe", "recipe_of"]

NOTE = "_walked_from"


@dataclass(frozen=True)
class Recipe:
    """What was evaluated, and which of its outputs is meant."""

    task: Task
    autocast: Autocast
    states: GeneratorStates | None
    output: int

    def again(self, tensors: Sequence[Tensor]) -> Tensor:
        """The output, from `tensors` as kept since; without a graph."""
        drawn = self.states.again() if self.states else nullcontext()
        with torch.no_grad(), drawn, self.autocast.again():
            return as_tensors(self.task.evaluate(tensors).result())[self.output]


class Made(NamedTuple):
    """A recipe, and the tensors that it was followed with."""

    recipe: Recipe
    sources: list[Tensor]


def note_recipe(outputs: Sequence[Tensor], tensors: Sequence[Tensor]) -> None:
    """Remember with each of `outputs`, fresh from a walk, that it came from `tensors`."""
    # weakly, or an output would keep alive all that it came from
    sources = tuple(weakref.ref(tensor) for tensor in tensors)
    for i, output in enumerate(outputs):
        if output.grad_fn is not None:
            setattr(output, NOTE, (i, output._version, sources))


def recipe_of(tensor: Tensor) -> Made | None:
    """How `tensor` came about; None unless it is a walk's output whose inputs are still alive."""
    node: Any = tensor.grad_fn
    if node is None or not hasattr(tensor, NOTE):
        return None
    output, version, sources = getattr(tensor, NOTE)
    tensors = [alive for source in sources if (alive := source()) is not None]
    if tensor._version != version or len(tensors) < len(sources):
        return None
    return Made(Recipe(node.task, node.autocast, node.states, output), tensors)
