"""What a walk keeps for its backward pass: each tensor once, and none that it can make again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from sci_memeff.chunking.parameters import name_of
from sci_memeff.chunking.recipe import Made
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
    inputs = {id(x) for x in tensors[:num_inputs]}
    made = {id(x): how for x, how in zip(tensors, found, strict=True) if how is not None}
    sources = [x for how in made.values() for x in how.sources]
    own = {
        id(x): x for x in (*tensors[num_inputs:], *sources) if _is_own(x) and id(x) not in inputs
    }
    saved = {id(x): x for x in (*tensors, *sources) if id(x) not in own and id(x) not in made}
    places = {key: i for i, key in enumerate((*saved, *own))}
    ctx.save_for_backward(*saved.values())
    ctx.own = [(x, x._version) for x in own.values()]
    ctx.places = [None if id(x) in made else places[id(x)] for x in tensors]
    ctx.made = [
        (i, how.recipe, [places[id(source)] for source in how.sources])
        for i, how in enumerate(found)
        if how is not None
    ]


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
    again = {i: recipe.again([held[k] for k in places]) for i, recipe, places in ctx.made}
    return [again[i] if place is None else held[place] for i, place in enumerate(ctx.places)]


def _is_own(tensor: Tensor) -> bool:
    return isinstance(tensor, nn.Parameter) and tensor.is_leaf
