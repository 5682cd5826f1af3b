"""Walks in every seam of the network and of its losses: the training step is the plain one."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from sci_memeff._types import Walk, whole
from sci_memeff.alphafold.losses import AlphaFoldLoss, LossConfig
from sci_memeff.alphafold.model import AlphaFold
from sci_memeff.chunking import in_slices
from tests.alphafold.losses.structures import sequence, truth
from tests.alphafold.networks import SMALL, random_batch, random_mask, redrawn

LETTERS = ("ADFPYEC", "YYKPDEE")


class Step(nn.Module):
    """The network and its loss, every term of it."""

    def __init__(self) -> None:
        super().__init__()
        self.model = redrawn(AlphaFold(SMALL))
        self.loss = AlphaFoldLoss(LossConfig.finetuning().with_ptm())

    def forward(self, batch: dict[str, Tensor], labels: dict[str, Tensor]) -> Tensor:
        out = self.model(batch)
        return self.loss(out, {name: x[..., -1] for name, x in batch.items()} | labels)[0]


def examples() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Features with two passes, and the labels of the last one."""
    torch.manual_seed(0)
    g = torch.Generator().manual_seed(1)
    n = len(LETTERS[0])
    labels = [truth(sequence(letters)) for letters in LETTERS]
    batch = random_batch(len(LETTERS), n, passes=2)
    stacked = {name: torch.stack([each[name] for each in labels]) for name in labels[0]}
    stacked["true_msa"] = torch.randint(23, (len(LETTERS), 4, n), generator=g)
    stacked["bert_mask"] = random_mask(len(LETTERS), 4, n, generator=g)
    for name in ("aatype", "residue_index"):
        batch[name] = stacked[name][..., None].expand(-1, -1, 2)
    return batch, stacked


def put(step: Step, walk: Walk) -> int:
    """Put `walk` into every seam; how many there were."""
    holders = [part for part in step.modules() if hasattr(part, "walk")]
    for part in holders:
        assert part.walk is whole
        part.walk = walk
    return len(holders)


def loss_and_gradients(step: Step, *, dropout: bool) -> dict[str, Tensor]:
    step.zero_grad()
    step.train(dropout)
    torch.manual_seed(3)
    loss = step(*examples())
    loss.backward()
    found = {name: p.grad for name, p in step.named_parameters()}
    assert [name for name, gradient in found.items() if gradient is None] == []
    return {"loss": loss.detach()} | found


def assert_same(found: dict[str, Tensor], wanted: dict[str, Tensor], tolerance: float) -> None:
    """To `tolerance` of each one's largest magnitude; some are zero but for rounding."""
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        bound = tolerance * value.abs().max() + 1e-14
        assert (found[name] - value).abs().max() <= bound, name


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
