"""Walks in every seam of the network and of its losses: the training step is the plain one."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from sci_memeff._types import Walk, whole
from sci_memeff.chunking import in_slices
from tests.alphafold.training_step import Step, assert_same, loss_and_gradients


def put(step: Step, walk: Walk) -> int:
    """Put `walk` into every seam; how many there were."""
    holders = [part for part in step.modules() if hasattr(part, "walk")]
    for part in holders:
        assert part.walk is whole
        part.walk = walk
    return len(holders)


@pytest.fixture(scope="module", params=[False, True], ids=["without dropout", "with dropout"])
def plain(request) -> tuple[Step, bool, dict[str, Tensor]]:
    step = Step()
    return step, request.param, loss_and_gradients(step, dropout=request.param)


@pytest.mark.parametrize(
    ("size", "recompute_shared"), [(1, False), (3, False), (3, True), (100, False)]
)
def test_the_whole_step(plain, size, recompute_shared):
    step, dropout, wanted = plain
    step = copy.deepcopy(step)
    assert put(step, in_slices(size, recompute_shared=recompute_shared)) > 40
    found = loss_and_gradients(step, dropout=dropout)
    assert_same(found, wanted, 1e-10)
    again = loss_and_gradients(step, dropout=dropout)
    assert all(torch.equal(value, again[name]) for name, value in found.items())


def test_dropout_matters(plain):
    step, dropout, wanted = plain
    other = loss_and_gradients(copy.deepcopy(step), dropout=not dropout)
    assert (other["loss"] - wanted["loss"]).abs() > 1e-3
