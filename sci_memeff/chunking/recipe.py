"""How outputs of a walk came about: for a later walk that would rather repeat it than keep one."""

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

__all__ = ["Made", "Recipe", "note_recipe", "recipes_of"]


@dataclass(frozen=True, eq=False)
class Recipe:
    """What was evaluated, and with which tensors. It keeps none of them alive."""

    task: Task
    autocast: Autocast
    states: GeneratorStates | None
    sources: tuple[weakref.ref[Tensor], ...]
    source_versions: tuple[int, ...]
    output_versions: tuple[int, ...]

    def sources_as_they_were(self) -> list[Tensor] | None:
        """The tensors, if all are alive and none was written to since."""
        found = [source() for source in self.sources]
        alive = [tensor for tensor in found if tensor is not None]
        same = tuple(tensor._version for tensor in alive) == self.source_versions
        return alive if same else None

    def again(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The outputs, from the sources as kept since; without a graph."""
        parameters = tensors[len(tensors) - len(self.task.places.slots) :]
        drawn = self.states.again() if self.states else nullcontext()
        # what stood in the module then, as `torch.func.functional_call` puts it there
        holding = self.task.places.holding(parameters)
        with torch.no_grad(), drawn, self.autocast.again(), holding:
            return as_tensors(self.task.evaluate(tensors).result())


class Made(NamedTuple):
    """A recipe, which of its outputs is meant, and the tensors to follow it with."""

    recipe: Recipe
    output: int
    sources: list[Tensor]


def note_recipe(ctx: Any, tensors: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
    """Note with the autograd node of a walk how its `outputs` came from `tensors`."""
    ctx.recipe = Recipe(
        ctx.task,
        ctx.autocast,
        ctx.states,
        tuple(weakref.ref(x) for x in tensors),
        tuple(x._version for x in tensors),
        tuple(x._version for x in outputs),
    )


def recipes_of(task: Task, tensors: Sequence[Tensor]) -> list[Made | None]:
    """How each of `tensors` came about that `task` takes as a shared one; None for the others."""
    begin = len(task.cut.dims)
    shared = range(begin, begin + task.num_shared)
    return [_recipe_of(x) if i in shared else None for i, x in enumerate(tensors)]


def _recipe_of(tensor: Tensor) -> Made | None:
    """None unless a walk noted it, and all is as it was then.

    Operations on the tensor, in place too, replace its node; where no graph is kept, they count
    its version up.
    """
    recipe = getattr(tensor.grad_fn, "recipe", None)
    if not isinstance(recipe, Recipe):
        return None
    sources = recipe.sources_as_they_were()
    if sources is None or tensor._version != recipe.output_versions[tensor.output_nr]:
        return None
    return Made(recipe, tensor.output_nr, sources)
