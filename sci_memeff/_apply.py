"""Putting a plan into a model's seams, taking it out again, and telling what stands in them."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, NamedTuple, TypeVar

import torch
from torch import nn

from sci_memeff._described import Described
from sci_memeff._forward import has_forward, held_forward, put_forward
from sci_memeff._plan import DEFAULTS, Plan, Rule, Seam
from sci_memeff.errors import BadPlanError
from sci_memeff.precision import Float8, recipe_of
from sci_memeff.precision.gains import gains

__all__ = ["apply", "describe", "restore"]

M = TypeVar("M", bound=nn.Module)

_OF_FORWARD: tuple[Seam, ...] = ("forward", "precision")  # no attributes of their own


def apply(model: M, plan: Plan) -> M:
    """Have every seam of `model` hold what `plan` says, and all others their default; `model`.

    In place. Names and values of parameters, and the answer, stay as they are; a `forward` that
    somebody had put on a module is what is run in the end, and stays when the plan goes.
    BadPlanError, before anything is changed, where a rule matches no seam of this model, or the
    forward of a module of TorchScript, which has none; and for a recipe that does not fit it.
    PrecisionError for a layer that cannot be computed in FP8 where a rule says it is.
    """
    places = list(_places(model))
    by_seam: dict[Seam, list[_Place]] = {}
    for place in places:
        by_seam.setdefault(place.seam, []).append(place)
    held = _of_recipe(plan, places)
    for rule in plan.rules:
        matched = [place for place in by_seam.get(rule.seam, []) if place.is_meant_by(rule)]
        if not matched:
            raise _misfit(rule, model, places)
        if rule.seam in _OF_FORWARD:
            _refuse_scripts(rule, matched)
        if isinstance(rule.use, Float8):
            for place in matched:
                rule.use.check(place.module, place.names[0])
        held.update(dict.fromkeys(matched, rule.use))
    for place in places:
        _put(place, held)
    return model


def restore(model: M) -> M:
    """Have every seam of `model` hold its default again; `model`."""
    return apply(model, Plan())


def describe(model: nn.Module) -> Described:
    """What the seams hold that are not at their default, by the name of the module.

    `print` shows it as a table, with the reason why a layer is not in FP8 where others are.
    """
    found: dict[str, dict[Seam, Any]] = {}
    layers: dict[str, nn.Module] = {}
    for place in _places(model):
        use = _held(place)
        if use != DEFAULTS[place.seam]:
            found.setdefault(place.names[0], {})[place.seam] = use
            layers[place.names[0]] = place.module
    uses = {name: seams["precision"] for name, seams in found.items() if "precision" in seams}
    if not any(isinstance(use, Float8) for use in uses.values()):
        return Described(found)
    reasons = {
        name: gains(layers[name])
        for name, use in uses.items()
        if isinstance(layers[name], nn.Linear) and not isinstance(use, Float8)
    }
    return Described(found, {name: f"no FP8: {why}" for name, why in reasons.items() if why})


class _Place(NamedTuple):
    """A seam: the names of its module, which has several where it is shared, and its own name."""

    names: tuple[str, ...]
    module: nn.Module
    seam: Seam

    def is_meant_by(self, rule: Rule) -> bool:
        return any(rule.matches(name, self.seam) for name in self.names)


def _places(model: nn.Module) -> Iterator[_Place]:
    """Every seam there is."""
    names: dict[nn.Module, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        names.setdefault(module, []).append(name)
    for module, its_names in names.items():
        for seam in DEFAULTS:
            if has_forward(module) if seam in _OF_FORWARD else seam in vars(module):
                yield _Place(tuple(its_names), module, seam)


def _of_recipe(plan: Plan, places: list[_Place]) -> dict[_Place, Any]:
    """What a plan's recipe has the modules' seams hold."""
    if plan.recipe is None:
        return {}
    modules = {place.module: place for place in places if place.seam == "precision"}
    uses = recipe_of(plan.recipe).uses({m: place.names for m, place in modules.items()})
    return {modules[module]: use for module, use in uses.items()}


def _held(place: _Place) -> Any:
    if place.seam not in _OF_FORWARD:
        return getattr(place.module, place.seam)
    put = held_forward(place.module)
    if put is None:
        return DEFAULTS[place.seam]
    return put.use if place.seam == "forward" else put.precision


def _put(place: _Place, held: dict[_Place, Any]) -> None:
    use = held.get(place, DEFAULTS[place.seam])
    if place.seam == "forward":  # what is in the seam "precision" goes with it
        beside = place._replace(seam="precision")
        precision = held.get(beside, DEFAULTS["precision"])
        put_forward(place.module, use, precision, place.names[0])
    elif place.seam not in _OF_FORWARD:
        setattr(place.module, place.seam, use)


def _refuse_scripts(rule: Rule, places: list[_Place]) -> None:
    for place in places:
        if isinstance(place.module, torch.jit.ScriptModule):
            raise BadPlanError(
                f"{rule.where!r} matches {place.names[0]!r}, whose forward is compiled by "
                "TorchScript and cannot be run otherwise",
                mend="name the module that calls it, or build the model without torch.jit.script",
            )


def _misfit(rule: Rule, model: nn.Module, places: list[_Place]) -> BadPlanError:
    names = [name for place in places if place.seam == rule.seam for name in place.names if name]
    nearest = get_close_matches(rule.where, names, n=3, cutoff=0.3) or names[:3]
    return BadPlanError(
        f"no module of this {type(model).__name__} that matches {rule.where!r} has a seam called "
        f"{rule.seam}",
        mend=f"name another; near it are {', '.join(nearest)}"
        if nearest
        else f"leave the rule out: no module of this model has a seam called {rule.seam}",
    )
