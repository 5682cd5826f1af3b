"""Plans in a recipe: a fixed one is every plan's, and "lossy" lets the search choose one."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import pytest
import torch

from sci_memeff import RECIPES, Plan, apply, measure
from sci_memeff.errors import BadPlanError
from sci_memeff.planning import max_crop
from sci_memeff.planning.planner import Origin

from .test_planner import adam, batch_at, build, ends, peak, planned, seconds, simulated, step

LOSSY = ("exact", "lossy")


@cache
def origin(**settings: object) -> Origin:
    found = planned(**settings)._origin
    assert isinstance(found, Origin)
    return found


def within(found: Origin, budget: int) -> Plan:
    best = found.search.best(budget)
    assert best is not None
    return found.plan_of(best, budget)


NAME = "bf16"  # in this net "bf16-pure" is the same: nothing in it begins a stream


def test_plans_carry_the_recipe_that_was_asked_for():
    name, found = NAME, origin(recipe=NAME)
    plain = found.search.plain
    assert found.search.space.plan(plain.state) == Plan(recipe=name)
    assert plain.peak < ends()[1]
    lean = found.search.leanest()
    for budget in (lean.needs, (lean.needs + plain.needs) // 2, plain.needs):
        plan = within(found, budget)
        assert plan.recipe is RECIPES[name]
        assert plan.prediction is not None
        assert plan.prediction.plain_peak_bytes == plain.peak
        assert peak(plan) <= budget
        assert simulated(plan) == peak(plan)
        assert Plan.from_json(plan.to_json()) == plan
    assert all(plan.recipe is RECIPES[name] for plan in found.front())


def test_what_is_predicted_is_what_a_real_step_takes():
    plan = within(origin(recipe="bf16"), origin(recipe="bf16").search.leanest().needs)
    model = apply(build(), plan)
    optimizer = adam(model)
    x = torch.randn(batch_at(64).shape)
    for _ in range(2):  # the states are there from the second step on
        with measure(model) as found:
            step(model, x).backward()
        optimizer.step()
        model.zero_grad()
    states = sum(
        t.nbytes for s in optimizer.state.values() for t in s.values() if t.ndim or t.numel()
    )
    assert found.peak + states == pytest.approx(peak(plan), rel=1e-3)


def test_recipes_are_a_choice_where_lossy_plans_are_allowed():
    free = origin(allow=LOSSY)
    assert free.search.space.plan(free.search.plain.state) == Plan()
    assert [group.names for group in free.search.space.groups[:1]] == [(NAME,)]
    needed = [free.search.leanest().needs, origin(recipe=NAME).search.leanest().needs]
    assert needed[0] == needed[1] < ends()[0]
    plan = within(free, needed[0])
    assert plan.recipe is RECIPES[NAME]
    assert plan.prediction is not None
    (action,) = [action for action in plan.prediction.actions if action.tier == "lossy"]
    assert action.what == "recipe bf16"
    assert action.saved_bytes > 0
    assert simulated(plan) == peak(plan)


def test_no_plan_is_slower_than_that_of_a_smaller_budget():
    free = origin(allow=LOSSY)
    low, high = free.search.leanest().needs, ends()[1]
    plans = [within(free, low + (high - low) * i // 6) for i in range(7)]
    assert all(b <= a for a, b in pairwise(seconds(plan) for plan in plans))
    exact = origin().search.best(high)
    assert exact is not None
    assert seconds(plans[-1]) <= exact.seconds


def test_a_model_in_half_precision_has_no_recipe_to_choose():
    found = planned(model=lambda: build().bfloat16(), allow=LOSSY, length=32)
    assert found.recipe is None
    with pytest.raises(BadPlanError, match="mend: keep them in float32"):
        planned(model=lambda: build().bfloat16(), recipe="bf16", length=32)
    with pytest.raises(BadPlanError, match="mend: give 'bf16'"):
        planned(recipe="bf61", length=32)


@pytest.mark.slow
def test_a_longer_crop_fits_in_a_recipe():
    budget = ends()[1]
    crops = {}
    for recipe in (None, "bf16"):
        found = max_crop(
            build, step, batch_at, budget=budget, target="T4-16GB", optimizer=adam, recipe=recipe,
            largest=256, granularity=64,
        )  # fmt: skip
        assert found.plan.recipe is (None if recipe is None else RECIPES[recipe])
        crops[recipe] = found.crop
    assert crops["bf16"] > crops[None]
    lossy = max_crop(
        build, step, batch_at, budget=budget, target="T4-16GB", optimizer=adam, allow=LOSSY,
        largest=256, granularity=64,
    )  # fmt: skip
    assert lossy.crop >= crops["bf16"]
