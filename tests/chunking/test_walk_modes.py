"""Walks in other dtypes, without data, under autocast, and of functions that draw numbers."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from sci_memeff.chunking import walk

from .modules import (
    Inputs,
    Mixed,
    Single,
    answer,
    assert_same,
    differentiable,
    mixed,
    mixed_inputs,
    single,
    two,
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [2, 7])
def test_other_dtypes(dtype, size):
    module, inputs = Mixed().to(dtype), mixed_inputs(7, (2,), dtype)
    wanted = differentiable(inputs, module)
    plain = answer(lambda: module.rows(*inputs.rows, *inputs.shared), wanted)
    tolerance = 1e-5 if dtype == torch.float32 else 3e-2
    assert_same(answer(lambda: mixed(module, inputs, size), wanted), plain, tolerance)


def shapes(module: Mixed, inputs: Inputs, size: int | None) -> list:
    """Shape, dtype and device of every output and gradient."""
    evaluated = module.rows if size is None else partial(mixed_flat, module, size)
    outputs = evaluated(*inputs.rows, *inputs.shared)
    total = sum(x.sum() for x in outputs[:3])
    wanted = differentiable(inputs, module)
    gradients = torch.autograd.grad(total, wanted, allow_unused=True)
    everything = (*outputs, *gradients)
    return [x if x is None else (x.shape, x.dtype, x.device) for x in everything]


def mixed_flat(module: Mixed, size: int, *tensors: Tensor):
    return mixed(module, Inputs(tensors[:4], tensors[4:]), size)


def moved(inputs: Inputs, device: str) -> Inputs:
    def one(x: Tensor) -> Tensor:
        return x.detach().to(device).requires_grad_(x.requires_grad)

    return Inputs(*(tuple(one(x) for x in part) for part in inputs))


def test_meta_tensors():
    module, inputs = Mixed().to("meta"), moved(mixed_inputs(7, (2,), torch.float32), "meta")
    assert shapes(module, inputs, 2) == shapes(module, inputs, None)


@pytest.mark.parametrize("autocast", [False, True])
def test_fake_tensors(autocast):
    inputs = mixed_inputs(7, (2,), torch.float32)
    with FakeTensorMode() as mode, torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        inputs = Inputs(*(tuple(mode.from_tensor(x) for x in part) for part in inputs))
        module = Mixed()
        assert shapes(module, inputs, 2) == shapes(module, inputs, None)


@pytest.mark.parametrize("size", [2, 5])
@pytest.mark.parametrize("cached", [False, True])
def test_autocast_is_that_of_the_forward_pass(size, cached):
    module, (x, y) = Single(), two(dtype=torch.float32)
    wanted = [x, y, *module.parameters()]
    seen = []
    module.register_forward_hook(lambda *_: seen.append(torch.is_autocast_enabled("cpu")))

    def of(size: int | None) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=cached):
            return module(x, y) if size is None else single(module, x, y, size)

    plain = answer(lambda: of(None), wanted)
    assert plain[0].dtype == torch.bfloat16
    assert plain[-1].dtype == torch.float32
    seen.clear()
    assert_same(answer(lambda: of(size), wanted), plain, 3e-2)
    assert seen == [True] * (2 * -(-5 // size))
    seen.clear()
    out = single(module, x, y, 5)
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=cached):
        out.sum().backward()
    assert seen == [False, False]


def test_a_walk_leaves_no_cast_weights_without_gradient():
    module, (x, y) = Single(), two(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        single(module, x, y, 2)
        module(x, y).sum().backward()
    assert module.linear.weight.grad is not None


# Random numbers


@pytest.mark.parametrize("size", [1, 2, 5])
def test_dropout_is_drawn_again(size):
    """The slope of a linear function with dropout is its value at 1."""
    x = torch.ones(5, 50, dtype=torch.float64, requires_grad=True)
    module = nn.Dropout(0.5)
    torch.manual_seed(1)
    out = walk(module, rows=(x,), in_dims=-2, out_dims=-2, size=size)
    after = torch.get_rng_state()
    torch.rand(7)
    before = torch.get_rng_state()
    out.sum().backward()
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(x.grad, out)
    assert 0.3 < (out > 0).double().mean() < 0.7
    torch.manual_seed(1)
    pieces = [module(part) for part in x.split(size)]
    assert torch.equal(torch.cat(pieces), out)
    assert torch.equal(torch.get_rng_state(), after)


def test_generators_are_put_back_after_a_failure():
    x = torch.ones(5, 50, requires_grad=True)

    def fails_again(x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            raise KeyError("in the backward pass")
        return nn.functional.dropout(x)

    out = walk(fails_again, rows=(x,), in_dims=-2, out_dims=-2, size=2)
    before = torch.get_rng_state()
    with pytest.raises(KeyError, match="in the backward pass"):
        out.sum().backward()
    assert torch.equal(torch.get_rng_state(), before)
