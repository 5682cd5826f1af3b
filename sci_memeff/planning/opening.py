"""A search is opened: what one step may do is found out, for one batch and then for others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

from torch import Tensor, nn
from torch.optim import Optimizer

from sci_memeff._apply import apply, describe
from sci_memeff._plan import Plan
from sci_memeff._prediction import Tier
from sci_memeff.checkpointing import Coded, Store
from sci_memeff.errors import BadPlanError, SecondDerivativeError
from sci_memeff.planning.candidates import Space, space_of, stores_of
from sci_memeff.planning.foreign import Heard, foreign_groups, known_of
from sci_memeff.planning.groups import RecipeGroup, Segments
from sci_memeff.planning.rehearsal import Rehearsal
from sci_memeff.planning.search import Progress, Search
from sci_memeff.planning.survey import surveyed
from sci_memeff.planning.targets import Target
from sci_memeff.precision import Recipe
from sci_memeff.precision.codecs import Fp8

__all__ = ["Place", "Step", "search_at", "search_of"]

Step = Callable[[nn.Module, Any], Tensor | None]
Place = Literal["device", "host"]
SEARCHED = ("bf16", "bf16-pure")  # recipes, the narrowest last


def search_of(
    model: nn.Module | Callable[[], nn.Module],
    step: Step,
    batch: Any,
    target: Target,
    *,
    keep: Sequence[Place] = ("device", "host"),
    allow: Sequence[Tier] = ("exact",),
    optimizer: Callable[[nn.Module], Optimizer] | None = None,
    recipe: Recipe | None = None,
    progress: Progress | None = None,
) -> Search:
    """A search over what one step may do."""
    if progress is not None:
        progress("looking at the step", 0, 1)
    rehearsal = Rehearsal(
        model, step, batch, optimizer=optimizer, seconds_of=target.seconds, recipe=recipe
    )
    lossy = "lossy" in allow
    recipes = _recipes_for(rehearsal) if lossy and recipe is None else ()
    hosts = "host" in keep and target.host_link > 0
    space = _space(rehearsal, recipes, stores_of(hosts=hosts, codec=Fp8() if lossy else None))
    if "rounding" in allow and target.host_link:  # a GPU's own kernels add up in another order
        space = replace(space, attention="auto")
    search = Search(rehearsal, space, target, progress)
    if _refuses_codes(search):
        search.space = replace(space, stores=stores_of(hosts=hosts, codec=None))
    return search


def search_at(search: Search, batch: Any) -> Search:
    """The same for another batch; the one that it is made from is of no use any more."""
    search.rehearsal.take(batch)
    before = search.space
    recipes = [name for g in before.groups if isinstance(g, RecipeGroup) for name in g.names]
    space = _space(search.rehearsal, recipes, before.stores)
    space = replace(space, attention=before.attention)
    return Search(search.rehearsal, space, search.target, search.progress)


def _recipes_for(rehearsal: Rehearsal) -> tuple[str, ...]:
    """Those to choose from: none for a model that they do not fit, such as one in half precision.

    Of several that say the same of this model, the first. FP8 is not among them: a simulation knows
    its bytes, which are no fewer, and not its time.
    """
    found: dict[str, object] = {}
    for name in SEARCHED:
        try:
            seams = describe(apply(rehearsal.model, Plan(recipe=name)))
        except BadPlanError:
            return ()
        if seams not in found.values():
            found[name] = seams
    return tuple(found)


def _refuses_codes(search: Search) -> bool:
    """Whether the step differentiates a gradient of what a plan would have it encode."""
    for state in search.space.coarse():
        if any(isinstance(c, Segments) and isinstance(c.store, Coded) for c in state):
            try:
                search.look(state)
            except SecondDerivativeError:
                return True
            break
    return False


def _space(rehearsal: Rehearsal, recipes: Sequence[str], stores: tuple[Store, ...]) -> Space:
    found = known_of(rehearsal.model)
    heard = rehearsal.heard = Heard(rehearsal, found)
    rehearsal.keep_apart(found)
    survey = surveyed(rehearsal)
    classes = {name: type(module) for module, name in rehearsal.names.items()}
    space = space_of(survey, stores=stores, classes=classes)
    groups = (*space.groups, *foreign_groups(rehearsal, heard, found))
    rehearsal.heard = None
    if recipes:
        groups = (RecipeGroup(names=tuple(recipes)), *groups)
    return replace(space, groups=groups, recipe=rehearsal.recipe)
