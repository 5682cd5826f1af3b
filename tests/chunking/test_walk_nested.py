"""Walks in walks, in checkpoints, and around them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sci_memeff.chunking import walk

from .modules import Single, answer, assert_same, double, two


class Nest(nn.Module):
    """A walk along one axis in a walk along another, with dropout in the inner one."""

    def __init__(self, outer: int | None, inner: int | None, dropout: float = 0.0) -> None:
        super().__init__()
        self.single = Single()
        self.scale = nn.Linear(4, 4)
        self.dropout = nn.Dropout(dropout)
        self.sizes = outer, inner

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self._go(self.rows, x, y, -3, self.sizes[0])

    def rows(self, x: Tensor, y: Tensor) -> Tensor:
        return self._go(self.inner, self.scale(x), y, -2, self.sizes[1])

    def inner(self, x: Tensor, y: Tensor) -> Tensor:
        return self.dropout(self.single(x, y))

    def _go(self, fn, x: Tensor, y: Tensor, dim: int, size: int | None) -> Tensor:
        if size is None:
            return fn(x, y)
        return walk(fn, rows=(x,), shared=(y,), in_dims=dim, out_dims=dim, size=size)


def nest_inputs() -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(5)
    x = torch.randn(3, 5, 4, generator=g, dtype=torch.float64)
    return x.requires_grad_(), two()[1].detach()[0].clone().requires_grad_()


@pytest.mark.parametrize("sizes", [(1, 1), (2, 2), (3, 2), (2, 9), (None, 2), (2, None)])
def test_a_walk_in_a_walk(sizes):
    plain, nested = double(Nest(None, None)), double(Nest(*sizes))
    x, y = nest_inputs()
    found = answer(lambda: nested(x, y), [x, y, *nested.parameters()])
    assert_same(found, answer(lambda: plain(x, y), [x, y, *plain.parameters()]))


def test_dropout_in_a_walk_in_a_walk():
    module, (x, y) = double(Nest(2, 2, dropout=0.5)), nest_inputs()
    torch.manual_seed(4)
    out = module(x, y)
    zero = out == 0
    assert 0 < zero.double().mean() < 1
    before = torch.get_rng_state()
    gradient = torch.autograd.grad(out.sum(), x)[0]
    assert torch.equal(torch.get_rng_state(), before)
    plain = 2 * double(Nest(None, None))(x, y) * ~zero
    assert_same([out.detach(), gradient], [plain.detach(), *torch.autograd.grad(plain.sum(), x)])


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_in_a_checkpoint(reentrant, dropout):
    module, (x, y) = double(Nest(2, 2, dropout)), nest_inputs()
    wanted = [x, y, *module.parameters()]

    def of(*, checkpointed: bool) -> list[Tensor]:
        for leaf in wanted:
            leaf.grad = None
        torch.manual_seed(4)
        out = checkpoint(twice, x, y, use_reentrant=reentrant) if checkpointed else twice(x, y)
        out.sum().backward()
        return [out.detach(), *(leaf.grad for leaf in wanted)]

    def twice(x: Tensor, y: Tensor) -> Tensor:
        return module(module(x, y).repeat_interleave(2, dim=-1)[..., :4], y)

    assert_same(of(checkpointed=True), of(checkpointed=False), 0.0)


def test_a_checkpoint_in_a_walk():
    module, (x, y) = double(Single()), two()
    wanted = [x, y, *module.parameters()]

    class Inside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return checkpoint(self.inner, x, y, use_reentrant=False)

    inside = Inside()
    found = answer(
        lambda: walk(inside, rows=(x,), shared=(y,), in_dims=-2, out_dims=-2, size=2), wanted
    )
    assert_same(found, answer(lambda: module(x, y), wanted))
