"""Shared operands that are made again: the plain answer, and how often what is evaluated."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from sci_memeff._types import Walk, whole
from sci_memeff.alphafold.outer_product_mean import OuterProductMean
from sci_memeff.alphafold.triangle_multiplication import TriangleMultiplication
from sci_memeff.chunking import in_slices
from tests.alphafold.networks import random_mask, redrawn

from . import operands
from .modules import answer, assert_same, double
from .operands import Operands

AGAIN = {  # evaluations of the operand: forward, backward, and for each walk that shares it
    operands.simple: 3,
    operands.from_own_rows: 3,
    operands.consumers: 4,
    operands.two_outputs: 3,
    operands.last_output: 3,
    operands.shared_twice: 3,
    operands.chain: 4,
    operands.end_of_chain: 3,
    operands.fork: 4,
}
KEPT = {
    operands.also_rows: 2,
    operands.also_kept: 2,
    operands.written: 2,
    operands.written_unseen: 2,
    operands.passed_on: 2,
    operands.viewed: 2,
    operands.detached: 1,
}
FORMS = [*AGAIN, *KEPT]


def name(form) -> str:
    return form.__name__


def rows(length: int = 7, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(2, length, 4, generator=g, dtype=torch.float64).requires_grad_()


def answer_of(module: Operands, walk: Walk, x: Tensor) -> list[Tensor | None]:
    module.walk = walk
    module.calls.clear()
    return answer(lambda: module(x), [x, *module.parameters()])


@pytest.mark.parametrize("form", FORMS, ids=name)
@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_the_plain_answer(size, form):
    module, x = double(Operands(form)), rows()
    plain = answer_of(module, whole, x)
    assert plain[1] is not None
    found = answer_of(module, in_slices(size, recompute_shared=True), x)
    assert_same(found, plain)
    assert_same(answer_of(module, in_slices(size), x), plain)


def test_the_comparison_can_fail():
    module, x = double(Operands(operands.simple)), rows()
    plain = answer_of(module, whole, x)
    module.form = operands.passed_on
    with pytest.raises(AssertionError, match="0"):
        assert_same(answer_of(module, in_slices(2, recompute_shared=True), x), plain)


@pytest.mark.parametrize(("form", "evaluations"), (AGAIN | KEPT).items(), ids=map(name, FORMS))
def test_how_often_an_operand_is_evaluated(form, evaluations):
    module, x = double(Operands(form)), rows()
    answer_of(module, in_slices(100, recompute_shared=True), x)
    assert module.calls["operand"] == evaluations
    answer_of(module, in_slices(100), x)
    assert module.calls["operand"] == (1 if form is operands.detached else 2)


def test_both_walks_must_say_so():
    module, x = double(Operands(operands.simple)), rows()
    for kept, shared in [(True, False), (False, True)]:
        module.calls.clear()
        module.walk = in_slices(100, recompute_shared=kept)
        operand = module.make(module.operand, x)
        module.walk = in_slices(100, recompute_shared=shared)
        module.use(x, shared=[operand]).sum().backward()
        assert module.calls["operand"] == 2


@pytest.mark.parametrize("form", FORMS, ids=name)
def test_two_backward_passes_are_bitwise_equal(form):
    module, x = double(Operands(form, dropout=0.3)), rows()
    module.walk = in_slices(2, recompute_shared=True)
    wanted = [x, *module.parameters()]
    out = module(x)
    ones = torch.ones_like(out)
    first, second = (
        torch.autograd.grad(out, wanted, ones, retain_graph=True, allow_unused=True)
        for _ in range(2)
    )
    assert all(a is b is None or torch.equal(a, b) for a, b in zip(first, second, strict=True))


# The network's own


class Called(nn.Module):
    """A module whose second input is a mask."""

    def __init__(self, inner: nn.Module, x: Tensor, mask: Tensor) -> None:
        super().__init__()
        self.inner, self.x, self.mask = inner, x, mask

    def answer(self, walk: Walk) -> list[Tensor | None]:
        self.inner.walk = walk
        return answer(lambda: self.inner(self.x, self.mask), [self.x, *self.inner.parameters()])


def called(kind: str, length: int) -> Called:
    g = torch.Generator().manual_seed(1)
    inner = (
        OuterProductMean(4, 5, 3) if kind == "outer product" else TriangleMultiplication(4, 3, kind)  # pyright: ignore[reportArgumentType]
    )
    shape = (2, 3 if kind == "outer product" else length, length)
    x = torch.randn(*shape, 4, generator=g, dtype=torch.float64).requires_grad_()
    return Called(redrawn(inner), x, random_mask(*shape, generator=g))


@pytest.mark.parametrize("kind", ["outgoing", "incoming", "outer product"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_sublayers(kind, size):
    module = called(kind, 7)
    plain = module.answer(whole)
    assert all(x is not None for x in plain)
    assert_same(module.answer(in_slices(size, recompute_shared=True)), plain)


# What a recipe is followed with


def test_parameters_that_stood_in():
    """They are gone from the module by the backward pass."""
    module, x = double(Operands(operands.simple)), rows()
    own = copy.deepcopy(module.state_dict())
    base = {key: torch.randn_like(p).requires_grad_() for key, p in module.named_parameters()}

    def of(walk: Walk) -> list[Tensor | None]:
        module.walk = walk
        return answer(
            lambda: torch.func.functional_call(
                module, {key: value.sin() for key, value in base.items()}, (x,)
            ),
            [x, *base.values()],
        )

    assert_same(of(in_slices(2, recompute_shared=True)), of(whole))
    assert all(torch.equal(value, own[key]) for key, value in module.state_dict().items())


@pytest.mark.parametrize("what", ["rows", "parameter"])
def test_sources_that_are_written_to_before_the_operand_is_shared(what):
    """The operand is of what they were."""
    other, module = double(Operands(operands.simple), 3), double(Operands(operands.simple))

    def of(walk: Walk) -> list[Tensor | None]:
        one, x = copy.deepcopy(other), rows().detach()
        one.walk = module.walk = walk
        operand = one.make(one.operand, x)
        with torch.no_grad():
            (x if what == "rows" else one.one.weight).add_(1)
        # no gradient that would lead to the operand's own backward pass
        return answer(lambda: module.use(x, shared=[operand]), [module.three.weight])

    assert_same(of(in_slices(2, recompute_shared=True)), of(whole))


def test_a_source_that_is_gone():
    """Autograd holds a copy elsewhere, and nobody the rows themselves."""
    module, x = double(Operands(operands.from_own_rows)), rows()
    plain = answer_of(module, whole, x)
    with torch.autograd.graph.saved_tensors_hooks(lambda x: x.numpy(force=True), torch.tensor):
        assert_same(answer_of(module, in_slices(100, recompute_shared=True), x), plain)
    assert module.calls["operand"] == 2
