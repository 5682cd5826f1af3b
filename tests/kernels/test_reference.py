from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from sci_memeff.kernels import attention

G = torch.Generator().manual_seed(0)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=G, dtype=torch.float64)


def test_agrees_with_sums_over_every_index():
    i, j, c, d = 3, 5, 4, 2
    q, k, v, bias = normal(i, c), normal(j, c), normal(j, d), normal(i, j)
    found = attention(q, k, v, (bias,))
    for row in range(i):
        powers = [
            math.exp(sum(q[row, n] * k[col, n] for n in range(c)) / math.sqrt(c) + bias[row, col])
            for col in range(j)
        ]
        for n in range(d):
            mean = sum(p * v[col, n] for col, p in enumerate(powers)) / sum(powers)
            assert found[row, n] == pytest.approx(mean.item(), rel=1e-12)


def test_agrees_with_torchs_and_adds_up_biases():
    q, k, v = normal(2, 3, 5, 4), normal(2, 3, 7, 4), normal(2, 3, 7, 6)
    mask, pair = normal(2, 1, 1, 7), normal(1, 3, 5, 7)
    wanted = F.scaled_dot_product_attention(q, k, v, attn_mask=mask + pair)
    torch.testing.assert_close(attention(q, k, v, (mask, pair)), wanted, rtol=0, atol=1e-13)
    torch.testing.assert_close(
        attention(q, k, v), F.scaled_dot_product_attention(q, k, v), rtol=0, atol=1e-13
    )


def test_gradients():
    q, k, v, bias = (
        x.requires_grad_()
        for x in (normal(2, 3, 4), normal(2, 5, 4), normal(2, 5, 4), normal(3, 5))
    )
    assert torch.autograd.gradcheck(lambda *x: attention(*x[:3], (x[3],)), (q, k, v, bias))


def test_masked_keys_weigh_nothing_and_no_key_at_all_is_finite():
    q, k, v = normal(3, 4), normal(5, 4), normal(5, 4)
    mask = torch.tensor([1.0, 0, 1, 0, 1], dtype=torch.float64)
    kept = mask.bool()
    masked = attention(q, k, v, ((mask - 1) * 1e9,))
    torch.testing.assert_close(masked, attention(q, k[kept], v[kept]), rtol=0, atol=1e-13)
    nothing = attention(q, k, v, (torch.full((5,), -1e9, dtype=torch.float64),))
    torch.testing.assert_close(nothing, attention(q, k, v), rtol=0, atol=1e-6)
    single = attention(q.float(), k.float(), v.float(), (torch.full((5,), -1e9),))
    torch.testing.assert_close(single, v.mean(0).float().expand(3, -1))


def test_leaves_its_inputs_alone():
    inputs = (normal(3, 4), normal(5, 4), normal(5, 4), normal(3, 5))
    before = [x.clone() for x in inputs]
    attention(*inputs[:3], inputs[3:])
    assert all(torch.equal(a, b) for a, b in zip(before, inputs, strict=True))
