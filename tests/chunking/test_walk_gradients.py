"""Gradients of a walk that are not wanted, not there, wanted twice, or to be differentiated."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sci_memeff.chunking import walk
from sci_memeff.errors import SecondDerivativeError

from .modules import (
    Inputs,
    Mixed,
    Single,
    answer,
    assert_same,
    differentiable,
    double,
    mixed,
    mixed_inputs,
    single,
    two,
)

# Not wanted, or not there


@pytest.mark.parametrize("size", [2, 7])
@pytest.mark.parametrize("kept", [0, 1, 2, 3, 4])
def test_any_one_gradient_alone(kept, size):
    module, inputs = double(Mixed()).requires_grad_(False), mixed_inputs(7)
    leaves = differentiable(inputs)
    for i, leaf in enumerate(leaves):
        leaf.requires_grad_(i == kept)
    if kept == len(leaves):
        module.one.weight.requires_grad_()
        leaves.append(module.one.weight)
    plain = answer(lambda: module.rows(*inputs.rows, *inputs.shared), [leaves[kept]])
    found = answer(lambda: mixed(module, inputs, size), [leaves[kept]])
    assert_same(found, plain)


@pytest.mark.parametrize("size", [2, 7])
@pytest.mark.parametrize("used", [0, 1, 2])
def test_a_loss_on_one_output_alone(used, size):
    module, inputs = double(Mixed()), mixed_inputs(7)
    wanted = differentiable(inputs, module)
    plain = answer(lambda: module.rows(*inputs.rows, *inputs.shared)[used], wanted)
    assert_same(answer(lambda: mixed(module, inputs, size)[used], wanted), plain)


def test_integer_outputs_have_no_gradient():
    module, inputs = double(Mixed()), mixed_inputs(7)
    *floats, rank = mixed(module, inputs, 2)
    assert not rank.requires_grad
    assert rank.dtype == torch.int64
    assert all(x.requires_grad for x in floats)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_outputs_and_slices_that_nothing_reaches(size):
    """A constant output, and rows that only some slices read."""
    x = torch.randn(5, dtype=torch.float64, requires_grad=True)
    y = torch.randn(5, dtype=torch.float64, requires_grad=True)
    first = torch.arange(5)

    def of(x: Tensor, y: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        even = index[0].item() % 2 == 0
        return (x * 3 if even else y * 2), torch.ones_like(x)

    found = walk(of, rows=(x, y, first), in_dims=-1, out_dims=-1, size=size)
    got = torch.autograd.grad(found[0].sum(), [x, y], retain_graph=True, allow_unused=True)
    even = (torch.arange(5) // size * size % 2 == 0).double()
    assert torch.equal(got[0], 3 * even)
    if even.all():
        assert got[1] is None
    else:
        assert torch.equal(got[1], 2 * (1 - even))
    assert torch.autograd.grad(found[1].sum(), [x, y], allow_unused=True) == (None, None)


def test_no_graph_where_none_is_wanted():
    module, inputs = double(Mixed()), mixed_inputs(7)
    with torch.no_grad():
        assert not any(x.requires_grad for x in mixed(module, inputs, 2))
    with torch.inference_mode():
        found = mixed(module, inputs, 2)
    assert_same(found, [x.detach() for x in module.rows(*inputs.rows, *inputs.shared)])
    module.requires_grad_(False)
    bare = Inputs(tuple(x.detach() for x in inputs.rows), tuple(x.detach() for x in inputs.shared))
    assert not any(x.requires_grad for x in mixed(module, bare, 2))


# Twice


def test_two_backward_passes_are_bitwise_equal():
    module, inputs = Mixed(), mixed_inputs(7, (2,), torch.float32)
    wanted = differentiable(inputs, module)
    outputs = mixed(module, inputs, 2)[:3]
    ones = [torch.ones_like(x) for x in outputs]
    runs = [
        torch.autograd.grad(outputs, wanted, ones, retain_graph=True, allow_unused=True)
        for _ in range(2)
    ]
    runs.append(torch.autograd.grad(mixed(module, inputs, 2)[:3], wanted, ones, allow_unused=True))
    for one, *others in zip(*runs, strict=True):
        assert all(one is other is None or torch.equal(one, other) for other in others)


def test_a_graph_is_freed_by_its_backward_pass():
    module, (x, y) = double(Single()), two()
    out = single(module, x, y, 2).sum()
    out.backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        out.backward()


def test_second_derivatives_are_refused():
    module, (x, y) = double(Single()), two()
    out = single(module, x, y, 2)
    with pytest.raises(SecondDerivativeError, match=r"Single.*keeps no graph") as caught:
        torch.autograd.grad(out.sum(), x, create_graph=True)
    assert caught.match("mend: leave out create_graph=True, or give the modules .* default walk")
    torch.autograd.grad(out.sum(), x)
