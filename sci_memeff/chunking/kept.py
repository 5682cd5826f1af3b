"""What a walk keeps for its backward pass: each tensor once, and none that it can make again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from sci_memeff.chunking.parameters import name_of
from sci_memeff.chunking.recipe import Made, Recipe
from sci_memeff.errors import BadWalkError

__all__ = ["keep", "kept"]


def keep(
    ctx: Any, tensors: Sequence[Tensor], num_inputs: int, found: Sequence[Made | None]
) -> None:
    """Save `tensors` with an autograd node, but for the module's own parameters, which live anyway.

    Whoever moves saved tensors elsewhere would move those in vain; so their versions are kept
    here, and compared by `kept`, as autograd does it for saved tensors. In place of a tensor that
    `found` says how to make, one by one, stand those that it is made from.
    """
    found = _worth_it(tensors, found)
    needed = [x for x, how in zip(tensors, found, strict=True) if how is None]
    needed += [source for how in found if how is not None for source in how.sources]
    inputs = {id(x) for x in tensors[:num_inputs]}
    own = {id(x): x for x in needed if _is_parameter(x) and id(x) not in inputs}
    saved = {id(x): x for x in needed if id(x) not in own}
    places = {key: i for i, key in enumerate((*saved, *own))}
    ctx.save_for_backward(*saved.values())
    ctx.own = [(x, x._version) for x in own.values()]
    ctx.places = [
        places[id(x)] if how is None else (how.recipe, how.output)
        for x, how in zip(tensors, found, strict=True)
    ]
    ctx.made = {
        how.recipe: [places[id(source)] for source in how.sources]
        for how in found
        if how is not None
    }


def kept(ctx: Any) -> list[Tensor]:
    """What `keep` kept, in its order, made again where that is due."""
    for parameter, version in ctx.own:
        if parameter._version != version:
            raise BadWalkError(
                f"a parameter of {name_of(ctx.task.fn)}, of shape {tuple(parameter.shape)}, was "
                "written to between the forward and the backward pass",
                mend="step the optimizer after the backward pass",
            )
    held = [*ctx.saved_tensors, *(parameter for parameter, _ in ctx.own)]
    made: dict[Recipe, list[Tensor]] = {
        recipe: recipe.again([held[k] for k in places]) for recipe, places in ctx.made.items()
    }
    return [
        held[place] if isinstance(place, int) else made[place[0]][place[1]] for place in ctx.places
    ]


def _worth_it(tensors: Sequence[Tensor], found: Sequence[Made | None]) -> list[Made | None]:
    """`found`, without what is kept in any case: as a row, or as what another one is made from."""
    if not any(found):
        return list(found)
    anyway = {id(x) for x, how in zip(tensors, found, strict=True) if how is None}
    anyway |= {id(source) for how in found if how is not None for source in how.sources}
    return [None if id(x) in anyway else how for x, how in zip(tensors, found, strict=True)]


def _is_parameter(tensor: Tensor) -> bool:
    return isinstance(tensor, nn.Parameter) and tensor.is_leaf
