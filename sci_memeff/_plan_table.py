"""A plan as a table that a person reads: what is done where, what it buys, what it comes to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sci_memeff._prediction import Prediction
from sci_memeff._rule import DEFAULTS, Rule
from sci_memeff.checkpointing import Coded, Device, InSegments, Recomputed, Store
from sci_memeff.chunking import InSlices, Sliced, Summed
from sci_memeff.kernels.forms import form_of
from sci_memeff.measure.table import human_bytes, human_flops, in_columns
from sci_memeff.precision import Computed, Recipe
from sci_memeff.precision.float8 import Float8

__all__ = ["in_words", "table"]


def table(rules: Sequence[Rule], recipe: Recipe | None, prediction: Prediction | None) -> str:
    """The recipe and what is predicted, where there are any, and a line for each action or rule."""
    head = [] if recipe is None else [_of_recipe(recipe)]
    if prediction is None:
        return "\n".join([*head, _of_rules(rules)] if rules or not head else head)
    return "\n".join([*head, _head(prediction), "", _of_actions(prediction) or _of_rules(rules)])


def in_words(use: Any) -> str:
    """What a seam does that holds this."""
    if isinstance(use, InSlices):
        operands = ", operands walked again" if use.recompute_shared else ""
        return f"walked {use.size} rows at a time{operands}"
    if isinstance(use, (Sliced, Summed)):
        names = ", ".join(
            key if isinstance(key, str) else f"argument {key}" for key, _ in use.in_dims
        )
        rows = f"{use.size} rows of {names} at a time"
        is_sum = isinstance(use, Summed)
        return f"added up {rows}, each {in_words(use.each)}" if is_sum else f"walked {rows}"
    if isinstance(use, Recomputed):
        return f"recomputed{_elsewhere(use.keep)}{_spared(use.spare)}"
    if isinstance(use, InSegments):
        return _segments(use)
    if isinstance(use, Computed):
        return _computed(use)
    if isinstance(use, Float8):
        return str(use)
    form = form_of(use)
    if form is not None:
        return f"attention: {form}"
    return "plain" if use in DEFAULTS.values() else repr(use)


def _computed(use: Computed) -> str:
    words = [] if use.inputs is None else [f"in {use.inputs}"]
    if use.parameters not in (None, use.inputs):
        own = "the dtype of its input" if use.parameters == "inputs" else use.parameters
        words.append(f"parameters in {own}")
    if use.outputs is not None:
        words.append(f"result in {use.outputs}")
    return ", ".join(words) or "as it is"


def _of_recipe(recipe: Recipe) -> str:
    if recipe.products is None:
        return f"recipe {recipe.name}: everything as it is"
    words = [f"recipe {recipe.name}: products in {recipe.products}"]
    if recipe.linears is not None:
        words.append(f"wide linear layers in {recipe.linears}")
    if recipe.streams is not None:
        words.append(f"streams in {recipe.streams}")
    if recipe.islands:
        words.append(f"in float32 {', '.join(recipe.islands)}")
    return "; ".join(words)


def _segments(use: InSegments) -> str:
    if isinstance(use.length, int):
        words = f"recomputed {use.length} at a time"
    else:
        words = f"recomputed in segments of {', '.join(map(str, use.length))}"
    if use.inner is not None:
        words += f", within them {in_words(use.inner)}"
    left = f", the last {use.leave} left plain" if use.leave else ""
    return f"{words}{left}{_elsewhere(use.keep)}{_spared(use.spare)}"


def _elsewhere(keep: Store) -> str:
    if isinstance(keep, Coded):
        place = _elsewhere(keep.keep).removeprefix(", kept")
        return f", kept in {keep.codec}{place}"
    return "" if isinstance(keep, Device) else f", kept on the {type(keep).__name__.lower()}"


def _spared(spare: str) -> str:
    return "" if spare == "nothing" else f", but not {spare}"


def _head(prediction: Prediction) -> str:
    places = [place for place in (prediction.peak_phase, prediction.peak_module) if place]
    lines = [
        f"predicted peak on {prediction.target}: {human_bytes(prediction.peak_bytes)} live, "
        f"{human_bytes(prediction.reserved_bytes)} with {prediction.margin:.1%} for the allocator"
        f"{_budget(prediction.budget_bytes)}",
        f"where: {', '.join(places)}",
        f"plain: {human_bytes(prediction.plain_peak_bytes)} live",
    ]
    if prediction.host_bytes:
        lines.append(f"on the host: {human_bytes(prediction.host_bytes)}")
    lines.append(
        f"{prediction.flops_ratio:.2f} × the FLOPs of the plain step "
        f"({human_flops(prediction.flops)}), {prediction.seconds_ratio:.2f} × its time "
        f"({prediction.step_seconds:.3g} s)"
    )
    return "\n".join(lines)


def _budget(budget: int | None) -> str:
    return "" if budget is None else f", of a budget of {human_bytes(budget)}"


def _of_actions(prediction: Prediction) -> str:
    head = ("module", "what is done", "tier", "bytes saved", "FLOPs added")
    rows = [
        (
            action.where,
            action.what,
            action.tier,
            human_bytes(action.saved_bytes),
            human_flops(action.added_flops),
        )
        for action in prediction.actions
    ]
    return in_columns(head, rows) if rows else ""


def _of_rules(rules: Sequence[Rule]) -> str:
    if not rules:
        return "no rules: the model is left as it is"
    rows = [(rule.where, rule.seam, in_words(rule.use)) for rule in rules]
    return in_columns(("module", "seam", "what is done"), rows)
