"""Shared operands made again: with dropout, under autocast, in checkpoints, without data."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.checkpoint import checkpoint

from sci_memeff._types import Iterate, Walk, in_turn, whole
from sci_memeff.checkpointing import Device, Disk, Host, in_segments
from sci_memeff.chunking import in_slices, walk
from sci_memeff.errors import BadWalkError

from . import operands
from .modules import assert_same, double
from .operands import Operands

FORMS = [operands.simple, operands.two_outputs, operands.chain, operands.fork]
AGAIN, KEPT = in_slices(2, recompute_shared=True), in_slices(2)


def name(form) -> str:
    return form.__name__


def rows(dtype: torch.dtype = torch.float64) -> Tensor:
    g = torch.Generator().manual_seed(0)
    return torch.randn(2, 7, 4, generator=g, dtype=dtype).requires_grad_()


def gradients(module: Operands, of: Callable[[], Tensor], x: Tensor) -> list[Tensor | None]:
    """With the output, and from the same random numbers."""
    torch.manual_seed(4)
    out = of()
    torch.rand(7)
    before = torch.get_rng_state()
    found = torch.autograd.grad(out.square().sum(), [x, *module.parameters()], allow_unused=True)
    assert torch.equal(torch.get_rng_state(), before)
    return [out.detach(), *found]


def assert_bitwise(found: list[Tensor | None], wanted: list[Tensor | None]) -> None:
    assert_same(found, wanted, 0.0)


@pytest.mark.parametrize("form", FORMS, ids=name)
def test_dropout_is_drawn_again(form):
    """Bitwise as when the operand is kept."""
    module, x = double(Operands(form, dropout=0.5)), rows()
    module.walk = KEPT
    plain = gradients(module, lambda: module(x), x)
    module.walk = AGAIN
    assert_bitwise(gradients(module, lambda: module(x), x), plain)
    module.eval()
    assert not torch.equal(module(x), plain[0])


@pytest.mark.parametrize("made", [False, True])
@pytest.mark.parametrize("used", [False, True])
def test_autocast_is_that_under_which_the_operand_was_made(made, used):
    module, x = Operands(operands.simple), rows(torch.float32)

    def of() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=made):
            operand = module.make(module.operand, x)
        assert operand.dtype == (torch.bfloat16 if made else torch.float32)
        with torch.autocast("cpu", torch.bfloat16, enabled=used):
            return module.use(x, shared=[operand])

    module.walk = KEPT
    plain = gradients(module, of, x)
    module.walk = AGAIN
    assert_bitwise(gradients(module, of, x), plain)


@pytest.mark.parametrize("form", FORMS, ids=name)
def test_in_half_precision(form):
    module, x = Operands(form).bfloat16(), rows(torch.bfloat16)
    module.walk = KEPT
    plain = gradients(module, lambda: module(x), x)
    module.walk = AGAIN
    assert_bitwise(gradients(module, lambda: module(x), x), plain)


@pytest.mark.parametrize("form", FORMS, ids=name)
@pytest.mark.parametrize("reentrant", [False, True])
def test_in_a_checkpoint(reentrant, form):
    module, x = double(Operands(form, dropout=0.3)), rows()

    def of(*, checkpointed: bool) -> list[Tensor | None]:
        module.zero_grad()
        x.grad = None
        torch.manual_seed(4)
        out = checkpoint(twice, x, use_reentrant=reentrant) if checkpointed else twice(x)
        out.sum().backward()
        return [out.detach(), x.grad, *(p.grad for p in module.parameters())]

    def twice(x: Tensor) -> Tensor:
        return module(module(x).sin()[..., :4])

    module.walk = KEPT
    plain = of(checkpointed=False)
    module.walk = AGAIN
    assert_bitwise(of(checkpointed=False), plain)
    assert_bitwise(of(checkpointed=True), plain)


class Step(nn.Module):
    """A residual step of a stack."""

    def __init__(self, form, seed: int) -> None:
        super().__init__()
        self.inner = double(Operands(form, dropout=0.3), seed)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (x + self.inner(x)[..., :4].tanh(),)


@pytest.mark.parametrize("keep", [Device(), Host(min_bytes=0), Disk(min_bytes=0)], ids=str)
@pytest.mark.parametrize("form", FORMS, ids=name)
def test_in_segments(form, keep):
    steps = nn.ModuleList(Step(form, seed) for seed in range(5))
    x = rows()

    def of(iterate: Iterate, walk: Walk) -> list[Tensor | None]:
        for step in steps:
            step.inner.walk = walk  # pyright: ignore
        torch.manual_seed(4)
        ((out,),) = iterate(list(steps), (x,))
        assert out.isfinite().all()
        wanted = [x, *steps.parameters()]
        return [out.detach(), *torch.autograd.grad(out.sum(), wanted, allow_unused=True)]

    plain = of(in_turn, KEPT)
    for iterate in (in_segments(2, keep=keep), in_segments(3, inner=in_segments(1), keep=keep)):
        assert_bitwise(of(iterate, AGAIN), plain)


@pytest.mark.parametrize("form", FORMS, ids=name)
@pytest.mark.parametrize("autocast", [False, True])
def test_fake_tensors(autocast, form):
    def of(walk: Walk) -> list:
        with FakeTensorMode() as mode, torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            module, x = Operands(form), mode.from_tensor(rows(torch.float32))
            module.walk = walk
            out = module(x)
            wanted = [x, *module.parameters()]
            found = torch.autograd.grad(out.sum(), wanted, allow_unused=True)
        calls = module.calls["operand"]
        return [calls, *(y if y is None else (y.shape, y.dtype) for y in (out, *found))]

    calls, *again = of(in_slices(100, recompute_shared=True))
    assert again == of(whole)[1:]
    assert calls == (4 if form in (operands.chain, operands.fork) else 3)


def test_a_walk_in_a_walk():
    """The operand of the inner one is made while the outer one is differentiated."""
    module, x = double(Operands(operands.simple, dropout=0.3)), rows()

    def of(inner: Walk) -> list[Tensor | None]:
        module.walk = inner
        return gradients(
            module,
            lambda: walk(module, rows=(x,), in_dims=-3, out_dims=-3, size=1),
            x,
        )

    assert_bitwise(of(AGAIN), of(KEPT))


def test_a_parameter_of_the_operand_that_is_written_to_before_the_backward_pass():
    one, module = double(Operands(operands.simple), 3), double(Operands(operands.simple))
    one.walk = module.walk = AGAIN
    out = module.use(rows(), shared=[one.make(one.operand, rows())])
    with torch.no_grad():
        one.one.weight.add_(1)
    with pytest.raises(BadWalkError, match=r"parameter of .* \(6, 4\), was written") as caught:
        torch.autograd.grad(out.sum(), module.three.weight)
    assert caught.match("mend: step the optimizer after the backward pass")


def test_rows_of_the_operand_that_are_written_to_before_the_backward_pass():
    one, module = double(Operands(operands.simple), 3), double(Operands(operands.simple))
    one.walk = module.walk = AGAIN
    x = rows() * 1
    out = module.use(rows(), shared=[one.make(one.operand, x)])
    x.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(out.sum(), module.three.weight)
