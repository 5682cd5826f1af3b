"""Segments on every stack of the network, walks within: the answer is the plain one."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sci_memeff.alphafold.model import AlphaFold
from sci_memeff.checkpointing import Disk, Host, in_segments
from sci_memeff.chunking import in_slices
from tests.alphafold.networks import SMALL, random_batch, redrawn

CONFIG = replace(SMALL, num_evoformer_blocks=3, num_extra_msa_blocks=2, num_template_blocks=2)
BATCH = random_batch(2, 7, passes=2)


def put(model: nn.Module, seam: str, value: Any) -> int:
    """Put `value` into every such seam; how many there were."""
    holders = [part for part in model.modules() if hasattr(part, seam)]
    for part in holders:
        setattr(part, seam, value)
    return len(holders)


def outputs_and_gradients(model: AlphaFold) -> dict[str, Tensor]:
    model.zero_grad()
    torch.manual_seed(3)
    out = model(BATCH)
    outputs = out | {f"sm.{name}": x for name, x in out["sm"].items()}
    del outputs["sm"]
    g = torch.Generator().manual_seed(7)
    total = sum(
        (x * torch.randn(x.shape, generator=g, dtype=x.dtype)).sum() / (1 + x.detach().abs().max())
        for x in outputs.values()
        if x.requires_grad
    )
    total.backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    assert [name for name, gradient in gradients.items() if gradient is None] == []
    return {name: x.detach() for name, x in outputs.items()} | gradients


@pytest.fixture(scope="module", params=[False, True], ids=["without dropout", "with dropout"])
def plain(request) -> tuple[AlphaFold, dict[str, Tensor]]:
    model = redrawn(AlphaFold(CONFIG)).train(request.param)
    return model, outputs_and_gradients(model)


@pytest.mark.parametrize(
    "iterate",
    [
        in_segments(1),
        in_segments(2, inner=in_segments(1), keep=Disk(min_bytes=0)),
        in_segments(2, spare="matmul", keep=Host(min_bytes=0)),
    ],
    ids=["1", "2 of 1 on disk", "2 but products"],
)
def test_segments_give_the_plain_answer_bitwise(plain, iterate):
    model, wanted = plain
    model = copy.deepcopy(model)
    assert put(model, "iterate", iterate) == 4
    found = outputs_and_gradients(model)
    assert found.keys() == wanted.keys()
    assert [name for name, x in wanted.items() if not torch.equal(found[name], x)] == []


def test_segments_and_walks(plain):
    model, wanted = plain
    model = copy.deepcopy(model)
    put(model, "iterate", in_segments(2, inner=in_segments(1)))
    assert put(model, "walk", in_slices(3)) > 40
    found = outputs_and_gradients(model)
    for name, value in wanted.items():
        bound = 1e-10 * value.abs().max() + 1e-14
        assert (found[name] - value).abs().max() <= bound, name
