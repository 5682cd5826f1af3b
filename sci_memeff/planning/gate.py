"""`gate`: whether a cheaper precision keeps the gradients of a step, module by module.

The measure is the cosine between a gradient and float32's: an optimizer that divides by its second
moments forgives a factor, and not another direction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from sci_memeff._apply import apply, restore
from sci_memeff._plan import Plan
from sci_memeff.errors import BadConfigError
from sci_memeff.planning.answers import Step, answer
from sci_memeff.planning.copies import copied, same_state, twin
from sci_memeff.planning.gated import Gated, GatedModule
from sci_memeff.precision import Recipe, recipe_of

__all__ = ["BARS", "gate"]

BARS = {"float32": 0.9999, "bfloat16": 0.998, "float8": 0.99}
"""The least cosine that passes, by the narrowest dtype that products are computed in."""
STRICT = 0.999  # of bfloat16 whose streams are float32

SEED = 0


def gate(
    model: nn.Module | Callable[[], nn.Module],
    step: Step,
    batch: Any,
    plan: Plan | Recipe | str,
    *,
    bar: float | None = None,
) -> Gated:
    """Compare the gradients of `step(model, batch)` under `plan` with plain float32's.

    `plan` may be a recipe, or the name of one. Both draw the same random numbers, so a difference
    is the plan's. Of every module that owns parameters, and of all of them together: the cosine
    between the two gradients, the ratio of their norms, and the relative distance. The gate is
    passed where the cosine of all together and that of the median module are at least `bar` (by
    default that of the recipe, see `BARS`) and no gradient is missing or not finite; modules below
    it are told. Of gradients that vanish but for rounding, as that of a bias which softmax does not
    see, even float32 has no direction.

    The model is not touched: it costs its parameters twice more, and all gradients twice on the
    CPU. BadPlanError for a plan that does not fit the model; BadConfigError for a model without
    values, or without gradients.
    """
    chosen = plan if isinstance(plan, Plan) else Plan(recipe=plan)
    given = model if isinstance(model, nn.Module) else model()
    exact = restore(copied(given).float())
    cheap = apply(twin(exact), chosen)
    truth = answer(exact, step, batch, seed=SEED, dtype=torch.float32)
    same_state(cheap, given)
    found = answer(cheap, step, batch, seed=SEED, dtype=torch.float32)
    pairs = _by_module(found.gradients, truth.gradients, dict(exact.named_parameters()))
    if not pairs:
        raise BadConfigError(
            "no gradient reaches a parameter of this model",
            mend="let the step return a loss that depends on the model",
        )
    all_found, all_true = (torch.cat(parts) for parts in zip(*pairs.values(), strict=True))
    total = float(torch.linalg.vector_norm(all_true)) or 1.0
    rows = [_row(name, a, b, total) for name, (a, b) in pairs.items()]
    whole = _row("", all_found, all_true, total)
    return Gated(
        name=_name(chosen),
        rows=tuple(sorted(rows, key=lambda row: row.cosine)),
        cosine=whole.cosine,
        norm_ratio=whole.norm_ratio,
        error=whole.error,
        bar=bar_of(chosen) if bar is None else bar,
        loss=found.loss,
        exact_loss=truth.loss,
    )


def bar_of(plan: Plan) -> float:
    """What a plan's gradients have to come up to, by its recipe; stores of 8 bits as bfloat16."""
    recipe = recipe_of("fp32") if plan.recipe is None else recipe_of(plan.recipe)
    if recipe.linears is not None:
        return BARS["float8"]
    lossy = any(hasattr(getattr(rule.use, "keep", None), "codec") for rule in plan.rules)
    if recipe.products == "bfloat16":
        wide = recipe.streams == "float32" and not lossy
        return STRICT if wide else BARS["bfloat16"]
    return BARS["bfloat16"] if lossy else BARS["float32"]


def _name(plan: Plan) -> str:
    recipe = "fp32" if plan.recipe is None else recipe_of(plan.recipe).name
    return f"{recipe}, {len(plan.rules)} rules" if plan.rules else recipe


def _by_module(
    found: dict[str, Tensor | None], truth: dict[str, Tensor | None], own: dict[str, nn.Parameter]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Each module's gradients in one row, in float64; zeros where one of the two has none."""
    parts: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for name, p in own.items():
        pair = found.get(name), truth.get(name)
        if pair != (None, None):
            rows = [torch.zeros(p.numel()) if g is None else g.reshape(-1) for g in pair]
            module = name.rpartition(".")[0]
            parts.setdefault(module, []).append((rows[0].double(), rows[1].double()))
    return {
        module: (torch.cat([a for a, _ in pairs]), torch.cat([b for _, b in pairs]))
        for module, pairs in parts.items()
        if any(a.any() or b.any() for a, b in pairs)  # all zero: nothing to tell apart
    }


def _row(name: str, found: Tensor, truth: Tensor, total: float) -> GatedModule:
    norms = [float(torch.linalg.vector_norm(x)) for x in (found, truth)]
    return GatedModule(
        name=name,
        cosine=float(found @ truth) / (norms[0] * norms[1] or 1.0),
        norm_ratio=norms[0] / norms[1] if norms[1] else float("inf"),
        error=float(torch.linalg.vector_norm(found - truth)) / (norms[1] or 1.0),
        share=norms[1] / total,
    )
