"""The way between two plans, on which every step but the last does less."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any, cast

import pytest
import torch
from torch import nn

from sci_memeff.checkpointing.stores import ON_DEVICE
from sci_memeff.planning.candidates import Space
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
