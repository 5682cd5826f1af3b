"""Modules that add up over rows, in parts: the plain answer, every gradient, and second ones."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sci_memeff._types import Forward, plainly
from sci_memeff.checkpointing import recomputed
from sci_memeff.chunking import Summed, summed
from sci_memeff.errors import BadConfigError, BadWalkError
from sci_memeff.measure import measure

NODES, EDGES = 5, 13


class Messages(nn.Module):
    """Sums over edges for every node, a constant beside it, and what is no tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.edge, self.out = nn.Linear(3, 8), nn.Linear(2, 8), nn.Linear(8, 3, bias=False)
        self.skip = nn.Linear(3, 3)

    def forward(
        self, nodes: Tensor, edges: Tensor, *, index: Tensor, cutoff: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        weights = self.edge(edges).tanh()
        if cutoff is not None:
            weights = weights * cutoff
        values = self.up(nodes)[index[0]] * weights
        message = torch.zeros(len(nodes), 8, dtype=nodes.dtype).index_add(0, index[1], values)
        return self.out(message), {"skip": self.skip(nodes), "none": None}


IN_DIMS: dict[str | int, int] = {"edges": -2, "index": -1, "cutoff": -2}


def use_of(size: int) -> Summed:
    return summed(size, IN_DIMS, each=recomputed())


def call(num_edges: int = EDGES) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
    g = torch.Generator().manual_seed(2)
    nodes, edges, cutoff = (
        torch.randn(*shape, generator=g, dtype=torch.float64).requires_grad_()
        for shape in ((NODES, 3), (num_edges, 2), (num_edges, 1))
    )
    index = torch.randint(NODES, (2, num_edges), generator=g)
    return (nodes, edges), {"index": index, "cutoff": cutoff}


def module() -> Messages:
    torch.manual_seed(0)
    return Messages().double()


def gradients(one: Messages, use: Forward, again: bool = False) -> list[Tensor]:
    (nodes, edges), kwargs = call()
    total, others = use(one.forward, (nodes, edges), kwargs)
    assert others["none"] is None
    loss = (total.sin() * torch.arange(3)).sum() + others["skip"].cos().sum()
    wanted = [nodes, edges, kwargs["cutoff"], *one.parameters()]
    if not again:
        return [loss, *torch.autograd.grad(loss, wanted)]
    (force,) = torch.autograd.grad(loss, nodes, create_graph=True)
    return list(torch.autograd.grad((force**2).sum(), wanted))


@pytest.mark.parametrize("size", [1, 5, 13, 20])
@pytest.mark.parametrize("again", [False, True])
def test_every_gradient_is_the_plain_one(size, again):
    one = module()
    plain, ours = gradients(one, plainly, again), gradients(one, use_of(size), again)
    assert len(plain) == len(ours) >= 3 + 7
    for x, y in zip(plain, ours, strict=True):
        assert x.any()
        assert (x - y).abs().max() <= 1e-12 * x.abs().max()


def test_one_part_is_alive_at_a_time():
    one, (args, kwargs) = module(), call(4000)

    def peak(use: Forward) -> int:
        with measure(one) as measured:
            use(one.forward, args, kwargs)[0].sum().backward()
        return measured.peak_over

    assert peak(use_of(400)) < peak(plainly) / 3
    assert peak(use_of(4000)) > peak(plainly) * 0.7


def test_what_is_not_given_is_left_out():
    one, (args, kwargs) = module(), call()
    del kwargs["cutoff"]
    found, plain = use_of(4)(one.forward, args, kwargs)[0], one(*args, **kwargs)[0]
    assert torch.allclose(found, plain, rtol=1e-12)


class Wrong(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x * 2


def test_what_is_no_sum_is_refused():
    x = torch.ones(5, 2)
    with pytest.raises(BadWalkError, match="no sum over them\n  mend: use sliced"):
        summed(3, {"x": -2}, each=plainly)(Wrong().forward, (x, x), {})
    with pytest.raises(BadWalkError, match=r"lengths \[4, 5\]\n  mend: name in in_dims"):
        summed(3, {"x": -2, "y": -2}, each=plainly)(Wrong().forward, (x, x[:4]), {})
    with pytest.raises(BadWalkError, match=r"returns 1 tensors.*\n  mend: count in `sums`"):
        summed(2, {"x": -2}, each=plainly, sums=(1,))(Wrong().forward, (x[:4], x), {})
    with pytest.raises(BadConfigError, match="mend"):
        summed(0, {"x": -2}, each=plainly)


@pytest.mark.parametrize("way", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_they_are_values(way):
    assert way(use_of(3)) == use_of(3) != use_of(4)
    assert hash(use_of(3)) == hash(use_of(3))
