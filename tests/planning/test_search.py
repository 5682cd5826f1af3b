"""The way between two plans, on which every step but the last does less."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Any, cast

import pytest
import torch
from torch import nn

from sci_memeff.checkpointing.stores import ON_DEVICE
from sci_memeff.planning.candidates import Space, State
from sci_memeff.planning.groups import Choice, Segments, SliceGroup, StackGroup
from sci_memeff.planning.rehearsal import Rehearsal
from sci_memeff.planning.search import Found, Search, hull, pareto
from sci_memeff.planning.targets import chosen_target

STACK = StackGroup(
    where="blocks.<0-7>", count=8, boundary=10, saved=500, seconds=3.0, seam="forward"
)
SLICES = SliceGroup(
    where="blocks.<0-7>.mlp", count=8, length=100, saved=90, seconds=1.0, make=lambda size: size
)


@pytest.mark.parametrize(
    ("lean", "fast"),
    [
        ((Segments(8), None), (None, None)),
        ((Segments(8), 16), (None, 4)),
        ((Segments(8), None), (None, 4)),
        ((Segments(8), 4), (None, 16)),
        ((None, 4), (Segments(8), None)),
    ],
)
def test_every_step_but_the_last_does_less(
    lean: tuple[Choice, ...], fast: tuple[Choice, ...]
) -> None:
    x = torch.ones(2)
    rehearsal = Rehearsal(nn.Linear(2, 1), lambda m, x: m(x).sum(), x, seconds_of=lambda *_: 0.0)
    space = Space((STACK, SLICES), (ON_DEVICE,))
    way = list(Search(rehearsal, space, chosen_target(None)).way(lean, fast))
    assert way[0] == lean
    assert way[-1] == fast
    assert len(set(way)) == len(way)
    done = [
        (stack.first if isinstance(stack, Segments) else 0, int(slices or 0))
        for stack, slices in cast(list[tuple[Any, Any]], way[:-1])
    ]
    for before, after in pairwise(done):
        assert after[0] <= before[0]
        assert after[1] <= before[1]


def found(peak: int, seconds: float) -> Found:
    return Found((), peak, "backward", "", 0, 0, seconds, Counter())


def test_what_a_mixture_of_two_betters_is_no_corner() -> None:
    plain, half, above, lean = found(100, 1.0), found(50, 2.0), found(40, 5.5), found(10, 6.0)
    slower = found(60, 7.0)
    assert pareto([slower, lean, above, plain, half]) == [plain, half, above, lean]
    assert hull([slower, lean, above, plain, half]) == [plain, half, lean]
    assert hull([plain, lean]) == [plain, lean]
    assert hull([found(55, 3.5), plain, lean]) == [plain, lean]  # as good as a mixture


def test_of_collinear_and_equal_ones_one_is_kept() -> None:
    assert hull([found(10, 1.0), found(10, 1.0)]) == [found(10, 1.0)]


class Additive(Search):
    """Every choice has its own bytes and seconds, which add up."""

    def look(self, state: State) -> Found:
        peak, seconds = 10_000, 100.0
        for group, choice in zip(self.space.groups, state, strict=True):
            if isinstance(group, StackGroup):
                first = choice.first if isinstance(choice, Segments) else 0
                peak += first * group.boundary + (group.count - first) * group.saved
                seconds += first * group.seconds
            elif isinstance(group, SliceGroup):
                slices = choice if isinstance(choice, int) else 1
                peak += group.count * group.saved // slices
                seconds += group.count * group.seconds * (1 - 1 / slices)
        return Found(state, peak, "backward", "", 0, 0, seconds, Counter())


def additive(seed: int) -> Additive:
    drawn = random.Random(seed)
    stacks = [
        replace(
            STACK,
            where=f"stack{i}.<0-9>",
            count=drawn.randint(2, 20),
            saved=drawn.randint(50, 5000),
            seconds=drawn.uniform(0.1, 9),
        )
        for i in range(4)
    ]
    slices = [
        replace(SLICES, where=f"slice{i}", saved=drawn.randint(9, 900), seconds=drawn.uniform(0, 2))
        for i in range(3)
    ]
    x = torch.ones(2)
    rehearsal = Rehearsal(nn.Linear(2, 1), lambda m, x: m(x).sum(), x, seconds_of=lambda *_: 0.0)
    return Additive(rehearsal, Space((*stacks, *slices), (ON_DEVICE,)), chosen_target(None))


@pytest.mark.parametrize("seed", range(5))
def test_a_larger_budget_is_used_and_never_slower(seed: int) -> None:
    search = additive(seed)
    low, high = search.leanest().needs, search.plain.needs
    budgets = [low + (high - low) * k // 150 for k in range(151)]
    plans = [search.best(budget) for budget in budgets]
    assert search.best(low - 1) is None
    assert all(plan is not None for plan in plans)
    fitting = cast(list[Found], plans)
    assert all(plan.needs <= budget for plan, budget in zip(fitting, budgets, strict=True))
    assert all(more.seconds <= less.seconds for less, more in pairwise(fitting))
    assert fitting[-1].state == search.space.plain
    assert len({plan.state for plan in fitting}) > 40


@pytest.mark.parametrize("seed", range(5))
def test_no_step_is_computed_again_that_fits(seed: int) -> None:
    search = additive(seed)
    all_again = search.space.coarse()[1]
    plain, least = search.space.plain, search.look(all_again).needs
    for k in range(60):
        budget = least + (search.plain.needs - least) * k // 60
        state = search._filled(all_again, plain, budget).state
        for i, choice in enumerate(state):
            if isinstance(choice, Segments) and choice.first:
                less = replace(choice, first=choice.first - 1)
                other = search.look((*state[:i], less, *state[i + 1 :]))
                assert other.needs > budget
