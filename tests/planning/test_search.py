"""The way between two plans, on which every step but the last does less."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, cast

import pytest
import torch
from torch import nn

from sci_memeff.checkpointing.stores import ON_DEVICE
from sci_memeff.planning.candidates import Space
from sci_memeff.planning.groups import Choice, Segments, SliceGroup, StackGroup
from sci_memeff.planning.rehearsal import Rehearsal
from sci_memeff.planning.search import Search
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
