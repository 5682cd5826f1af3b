"""Putting a plan into a model's seams, taking it out again, and telling what stands in them."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from torch import nn

from sci_memeff._plan import DEFAULTS, Plan, Rule, Seam
from sci_memeff.errors import BadPlanError

__all__ = ["apply", "describe", "restore"]

M = TypeVar("M", bound=nn.Module)


def apply(model: M, plan: Plan) -> M:
    """Have every seam of `model` hold what `plan` says, and all others their default; `model`.

    In place. Names and values of parameters, and the answer, stay as they are. BadPlanError,
    before anything is changed, where a rule matches no seam of this model.
    """
    seams = list(_seams(model))
    held: dict[tuple[str, Seam], Any] = {(name, seam): DEFAULTS[seam] for name, _, seam in seams}
    for rule in plan.rules:
        places = [place for place in held if _matches(rule, *place)]
        if not places:
            raise _misfit(rule, model, list(held))
        held.update(dict.fromkeys(places, rule.use))
    for name, module, seam in seams:
        setattr(module, seam, held[name, seam])
    return model


def restore(model: M) -> M:
    """Have every seam of `model` hold its default again; `model`."""
    return apply(model, Plan())


def describe(model: nn.Module) -> dict[str, dict[Seam, Any]]:
    """What the seams hold that are not at their default, by the name of the module."""
    found: dict[str, dict[Seam, Any]] = {}
    for name, module, seam in _seams(model):
        use = getattr(module, seam)
        if use != DEFAULTS[seam]:
            found.setdefault(name, {})[seam] = use
    return found


def _seams(model: nn.Module) -> Iterator[tuple[str, nn.Module, Seam]]:
    """Every seam: the name of its module, the module, its own name."""
    for name, module in model.named_modules():
        for seam in DEFAULTS:
            if seam in vars(module):
                yield name, module, seam


def _matches(rule: Rule, name: str, seam: Seam) -> bool:
    return seam == rule.seam and fnmatchcase(name, rule.where)


def _misfit(rule: Rule, model: nn.Module, places: list[tuple[str, Seam]]) -> BadPlanError:
    names = [name for name, seam in places if seam == rule.seam]
    nearest = get_close_matches(rule.where, names, n=3, cutoff=0.3) or names[:3]
    return BadPlanError(
        f"no module of this {type(model).__name__} that matches {rule.where!r} has a seam called "
        f"{rule.seam}",
        mend=f"name another; near it are {', '.join(nearest)}"
        if nearest
        else f"leave the rule out: no module of this model has a seam called {rule.seam}",
    )
