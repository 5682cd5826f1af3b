"""Walks on a CUDA device: its generator and its autocast."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sci_memeff.chunking import walk

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def test_dropout_is_drawn_again():
    """The slope of a linear function with dropout is its value at 1."""
    x = torch.ones(5, 50, device="cuda", requires_grad=True)
    out = walk(nn.Dropout(0.5), rows=(x,), in_dims=-2, out_dims=-2, size=2)
    torch.rand(7, device="cuda")
    before = torch.cuda.get_rng_state()
    out.sum().backward()
    assert torch.equal(torch.cuda.get_rng_state(), before)
    assert torch.equal(x.grad, out)
    assert 0.3 < (out > 0).float().mean() < 0.7


def test_autocast_is_that_of_the_forward_pass():
    module = nn.Linear(8, 8).cuda()
    x = torch.randn(5, 8, device="cuda", requires_grad=True)
    seen = []
    module.register_forward_hook(lambda *_: seen.append(torch.is_autocast_enabled("cuda")))
    with torch.autocast("cuda", torch.bfloat16):
        out = walk(module, rows=(x,), in_dims=-2, out_dims=-2, size=2)
    assert out.dtype == torch.bfloat16
    out.sum().backward()
    assert seen == [True] * 6
    assert module.weight.grad.dtype == torch.float32


def test_the_plain_answer_and_bitwise_the_same_twice():
    module = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 4))
    module = module.cuda().double()
    x = torch.randn(3, 7, 8, device="cuda", dtype=torch.float64, requires_grad=True)
    wanted = [x, *module.parameters()]
    plain = module(x)
    expected = torch.autograd.grad(plain.square().sum(), wanted)
    runs = []
    for _ in range(2):
        out = walk(module, rows=(x,), in_dims=-2, out_dims=-2, size=3)
        torch.testing.assert_close(out, plain, rtol=1e-12, atol=1e-12)
        runs.append(torch.autograd.grad(out.square().sum(), wanted))
    torch.testing.assert_close(runs[0], expected, rtol=1e-11, atol=1e-11)
    assert all(torch.equal(one, other) for one, other in zip(*runs, strict=True))
