"""`plan`: a byte budget in, the fastest setup that fits out; and the largest crop that fits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from torch import nn
from torch.optim import Optimizer

from sci_memeff._plan import Plan
from sci_memeff._prediction import Tier
from sci_memeff.errors import BadConfigError, BudgetError
from sci_memeff.measure.table import human_bytes
from sci_memeff.planning.batches import worst_batches
from sci_memeff.planning.crops import largest_crop
from sci_memeff.planning.front import Front
from sci_memeff.planning.opening import Place, Step, search_at, search_of
from sci_memeff.planning.prediction import MARGIN, predicted
from sci_memeff.planning.search import Found, Progress, Search, pareto
from sci_memeff.planning.targets import Target, bytes_of, chosen_target
from sci_memeff.precision import Recipe, recipe_of

__all__ = ["MaxCrop", "Objective", "Place", "Step", "max_crop", "plan"]

Objective = Literal["time", "bytes"]
IN_THE_WAY = 5  # tensors that an error names


def plan(
    model: nn.Module | Callable[[], nn.Module],
    step: Step,
    batch: Any,
    *,
    budget: int | str | None = None,
    objective: Objective = "time",
    target: str | Target | None = None,
    allow: Sequence[Tier] = ("exact",),
    keep: Sequence[Place] = ("device", "host"),
    optimizer: Callable[[nn.Module], Optimizer] | None = None,
    recipe: Recipe | str | None = None,
    batches: Iterable[Any] = (),
    batch_at: Callable[[int], Any] | None = None,
    progress: Progress | None = None,
) -> Plan:
    """The fastest setup whose live bytes stay within `budget`, by simulating `step(model, batch)`.

    Nothing is computed and no device is needed: `model` is a module, or a function that builds
    one, `batch` any structure of tensors (on the meta device, too), and the step is simulated on
    fake tensors, forward, losses and backward, with the states of `optimizer(model)` and its step.
    `budget` is in bytes, or "24GiB"; where it is left out, the target's memory less the
    allocator's margin. `target` is a name in `planning.TARGETS` or a `Target`; the CUDA device that
    is there, else an A100 of 40 GB. `objective="bytes"` asks for the leanest plan instead.

    `allow` are the tiers of what a plan may do, and `keep` where boundaries may live. `recipe`, or
    its name in `RECIPES`, is what every plan computes in, the plain one as well; without one, and
    with "lossy" among `allow`, the recipes for bfloat16 are a choice like others. Of `batches` as
    well as of `batch`, the largest decide. `batch_at(crop)` lets the error for a budget that
    cannot be met name the largest crop that fits. `progress(what, done, total)` is told of both.

    The result's `prediction` says what is expected, its `front()` gives the other plans, and
    `apply` puts it into a model. No plan exceeds its budget, and none is slower than that of a
    smaller one. BudgetError where nothing fits: the smallest budget that would, and the tensors
    that stand in the way; BadConfigError for what cannot be understood; CannotSimulateError for
    steps that read values.
    """
    chosen = chosen_target(target)
    _check(objective, allow, keep)
    limit = bytes_of(budget) if budget is not None else int(chosen.memory / (1 + MARGIN))
    options: dict[str, Any] = {"keep": keep, "allow": allow, "optimizer": optimizer}
    options["recipe"] = None if recipe is None else recipe_of(recipe)
    searches = [
        search_of(model, step, one, chosen, progress=progress, **options)
        for one in worst_batches(batches, batch)
    ]
    worst = max(searches, key=lambda search: search.plain.peak)
    worst.others = [
        Search(search.rehearsal, worst.space, chosen, progress)
        for search in searches
        if search is not worst
    ]
    found = worst.best(limit) if objective == "time" else worst.leanest()
    if found is None or not worst.fits(found.state, limit):
        state = worst.leanest().state
        lean = worst.decisive(state).look(state)
        crop = None if batch_at is None else largest_crop(worst, batch_at, limit)
        raise _unmet(lean, limit, crop)
    return Origin(worst).plan_of(found, None if budget is None else limit)


@dataclass(frozen=True)
class Origin:
    """The search that a plan came from."""

    search: Search

    def plan_of(self, found: Found, budget: int | None) -> Plan:
        """The state as a plan, with all that is expected of it for the batch that needs most."""
        search = self.search.decisive(found.state)
        prediction = predicted(search, search.look(found.state), budget)
        plan = self.search.space.plan(found.state)
        return replace(plan, prediction=prediction, _origin=self)

    def front(self) -> Front:
        """From the fastest to the leanest."""
        states = [found.state for found in self.search.dense_front()]
        founds = [self.search.decisive(state).look(state) for state in states]
        return Front([self.plan_of(found, None) for found in pareto(founds)])


@dataclass(frozen=True)
class MaxCrop:
    """The largest crop, and the plan that makes it fit."""

    crop: int
    plan: Plan


def max_crop(
    model: nn.Module | Callable[[], nn.Module],
    step: Step,
    batch_at: Callable[[int], Any],
    *,
    budget: int | str,
    largest: int = 4096,
    granularity: int = 8,
    target: str | Target | None = None,
    allow: Sequence[Tier] = ("exact",),
    keep: Sequence[Place] = ("device", "host"),
    optimizer: Callable[[nn.Module], Optimizer] | None = None,
    recipe: Recipe | str | None = None,
    progress: Progress | None = None,
) -> MaxCrop:
    """The largest multiple of `granularity`, up to `largest`, with a plan that fits in `budget`.

    `batch_at(crop)` makes the batch. The rest is as for `plan`, whose plan for the crop that is
    found comes with it. BudgetError where not even the smallest crop fits.
    """
    chosen, limit = chosen_target(target), bytes_of(budget)
    _check("time", allow, keep)
    options: dict[str, Any] = {"keep": keep, "allow": allow, "optimizer": optimizer}
    options["recipe"] = None if recipe is None else recipe_of(recipe)
    first = batch_at(granularity)
    search = search_of(model, step, first, chosen, progress=progress, **options)
    crop = largest_crop(search, batch_at, limit, largest=largest, granularity=granularity)
    if crop is None:
        raise _unmet(search_at(search, first).leanest(), limit, None)
    search = search_at(search, batch_at(crop))
    found = search.best(limit)
    assert found is not None  # the crop is one whose leanest plan fits
    return MaxCrop(crop, Origin(search).plan_of(found, limit))


def _unmet(lean: Found, limit: int, crop: int | None) -> BudgetError:
    by_tensor: Counter[str] = Counter()
    for made, size in lean.tensors.items():
        dtype = str(made.dtype).removeprefix("torch.")
        shape = f" {dtype} {list(made.shape)}" if made.shape else ""
        by_tensor[f"{made.what}{shape} in {made.module or 'the step'}"] += size
    largest = tuple(by_tensor.most_common(IN_THE_WAY))
    told = "; ".join(f"{human_bytes(size)} {what}" for what, size in largest)
    return BudgetError(
        f"no plan fits in {human_bytes(limit)}: the leanest takes {human_bytes(lean.peak)}, with "
        f"most bytes alive in {lean.phase} {lean.module}".rstrip()
        + f": {told}",
        mend=f"give {lean.needs} bytes or more"
        + (f", or crop to {crop}, the largest that fits" if crop else ", or a smaller batch"),
        smallest_bytes=lean.needs,
        largest_crop=crop,
        in_the_way=largest,
    )


def _check(objective: str, allow: Sequence[str], keep: Sequence[str]) -> None:
    if objective not in get_args(Objective):
        raise BadConfigError(
            f"{objective!r} is no objective", mend=f"one of {', '.join(get_args(Objective))}"
        )
    for name, given, kinds in (("allow", allow, Tier), ("keep", keep, Place)):
        unknown = [one for one in given if one not in get_args(kinds)]
        if unknown or isinstance(given, str):
            raise BadConfigError(
                f"{name} is {given!r}", mend=f"a tuple of some of {', '.join(get_args(kinds))}"
            )
    if "exact" not in allow:
        raise BadConfigError(
            f"allow is {tuple(allow)!r}, so that nothing exact may be done",
            mend='add "exact": everything else is allowed beside it',
        )
