from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sci_memeff.alphafold.attention import Attention, GlobalAttention, mask_bias

from .networks import random_mask, redrawn

H, C, C_Q, C_KV = 3, 4, 10, 8
QUERIES, KEYS = 5, 7


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("gated", [True, False])
def test_attention_is_its_formula(gated):
    layer = redrawn(Attention(C_Q, C_KV, C, H, gated=gated))
    x_q, x_kv, bias = normal(2, QUERIES, C_Q), normal(2, KEYS, C_KV), normal(2, H, QUERIES, KEYS)
    q, k, v = (
        (x @ linear.weight.T).unflatten(-1, (H, C))
        for x, linear in ((x_q, layer.linear_q), (x_kv, layer.linear_k), (x_kv, layer.linear_v))
    )
    logits = torch.einsum("bihc,bjhc->bhij", q, k) / C**0.5 + bias
    read = torch.einsum("bhij,bjhc->bihc", logits.softmax(-1), v)
    if gated:
        gate = torch.sigmoid(x_q @ layer.linear_g.weight.T + layer.linear_g.bias)
        read = read * gate.unflatten(-1, (H, C))
    wanted = read.flatten(-2) @ layer.linear_o.weight.T + layer.linear_o.bias
    torch.testing.assert_close(layer(x_q, x_kv, (bias,)), wanted, rtol=1e-12, atol=1e-12)


def test_an_ungated_attention_has_no_gate():
    names = [name for name, _ in Attention(C_Q, C_KV, C, H, gated=False).named_parameters()]
    assert not any("linear_g" in name for name in names)


def test_biases_add_up_and_broadcast():
    layer = redrawn(Attention(C_Q, C_KV, C, H))
    x_q, x_kv = normal(2, QUERIES, C_Q), normal(2, KEYS, C_KV)
    per_key, per_head = normal(2, 1, 1, KEYS), normal(1, H, QUERIES, KEYS)
    torch.testing.assert_close(
        layer(x_q, x_kv, (per_key, per_head)), layer(x_q, x_kv, (per_key + per_head,))
    )


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.float64])
def test_mask_bias(dtype):
    mask = random_mask(3, 4, generator=torch.Generator().manual_seed(0)).to(dtype)
    for like in (torch.float32, torch.float64, torch.bfloat16):
        bias = mask_bias(mask, torch.zeros((), dtype=like), strength=1e5)
        assert bias.dtype == like
        assert torch.equal(bias == 0, mask.bool())
        assert torch.equal(bias[~mask.bool()].unique(), torch.tensor([-1e5], dtype=like))


def test_masked_keys_have_no_influence():
    layer = redrawn(Attention(C_Q, C_KV, C, H))
    mask = torch.tensor([1.0, 0, 1, 1, 0, 1, 1])
    x_q, x_kv = normal(2, QUERIES, C_Q), normal(2, KEYS, C_KV)
    other = torch.where(mask[:, None].bool(), x_kv, 100 * normal(2, KEYS, C_KV, seed=1))
    found = [layer(x_q, x, (mask_bias(mask, x),)) for x in (x_kv, other)]
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-13)
    assert not torch.allclose(layer(x_q, x_kv), layer(x_q, other))


def test_global_attention_is_its_formula():
    layer = redrawn(GlobalAttention(C_Q, C, H))
    m = normal(2, KEYS, C_Q)
    mask = torch.tensor([[1.0, 0, 1, 1, 0, 1, 1], [0.0, 0, 1, 0, 1, 1, 0]])
    for b in range(2):
        valid = m[b][mask[b].bool()]
        q = (valid.mean(0) @ layer.linear_q.weight.T).reshape(H, C)
        weights = (q @ (valid @ layer.linear_k.weight.T).T / C**0.5).softmax(-1)
        read = weights @ (valid @ layer.linear_v.weight.T)
        gate = torch.sigmoid(m[b] @ layer.linear_g.weight.T + layer.linear_g.bias)
        wanted = (gate.reshape(KEYS, H, C) * read).flatten(-2) @ layer.linear_o.weight.T
        # The mean's denominator is 1e-8 too large, so that no column divides by zero.
        torch.testing.assert_close(
            layer(m, mask)[b], wanted + layer.linear_o.bias, rtol=1e-7, atol=1e-7
        )


def test_global_attention_without_any_sequence_is_finite():
    layer = redrawn(GlobalAttention(C_Q, C, H))
    m = normal(2, KEYS, C_Q).requires_grad_()
    out = layer(m, torch.zeros(2, KEYS))
    (gradient,) = torch.autograd.grad(out.sum(), m)
    assert out.isfinite().all()
    assert gradient.isfinite().all()
