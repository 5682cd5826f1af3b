from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from sci_memeff import measure, simulate
from sci_memeff.errors import SecondDerivativeError
from sci_memeff.kernels import attend, attention
from sci_memeff.kernels.fused import fits, fused

G = torch.Generator().manual_seed(0)
LEADS: list[Any] = [(3,), (2, 3), (1, 2, 3), (2, 2, 3)]


def case(lead: tuple[int, ...], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """q, k and v as linear layers give them, of 5 queries and 7 keys."""
    *batch, heads = lead
    return [
        torch.randn(*batch, rows, heads, 4, generator=G)
        .to(dtype)
        .transpose(-2, -3)
        .requires_grad_()
        for rows in (5, 7, 7)
    ]


def key_bias(*shape: int) -> Tensor:
    mask = torch.rand(*shape, generator=G) < 0.7
    assert mask.any()
    assert not mask.all()
    return (mask.float() - 1) * 1e9


def biases_for(lead: tuple[int, ...]) -> list[list[Tensor]]:
    whole, shared = key_bias(*lead, 1, 7), key_bias(*lead[:-1], 1, 1, 7)
    return [[], [shared], [whole], [key_bias(7), shared], [torch.randn(1, 1)]]


@pytest.mark.parametrize("lead", LEADS)
def test_agrees_with_the_reference(lead: tuple[int, ...]):
    for biases in biases_for(lead):
        q, k, v = case(lead)
        assert fits(q, k, v, biases)
        grad = torch.randn(q.shape)
        found, wanted = fused(q, k, v, biases), attention(q, k, v, biases)
        torch.testing.assert_close(found, wanted)
        gradients = torch.autograd.grad(found, [q, k, v], grad)
        for one, other in zip(gradients, torch.autograd.grad(wanted, [q, k, v], grad), strict=True):
            torch.testing.assert_close(one, other)


def test_fits_only_where_it_gives_every_gradient_and_is_fast():
    q, k, v = case((2, 3))
    bias = key_bias(2, 1, 1, 7)
    assert fits(q, k, v, [bias])
    needed = bias.clone().requires_grad_()
    assert not fits(q, k, v, [needed])
    with torch.no_grad():
        assert fits(q, k, v, [needed])
    assert not fits(q, k, v, [torch.randn(3, 5, 7)])
    assert not fits(q, k, v[..., :2], [])
    assert not fits(q[0, 0], k[0, 0], v[0, 0], [])
    assert not fits(q[..., :0, :], k, v, [])
    for dtype in (torch.bfloat16, torch.float64):
        q, k, v = case((2, 3), dtype)
        assert not fits(q, k, v, [])


def test_streaming_and_blocked_use_it(monkeypatch: pytest.MonkeyPatch):
    calls: list[int] = []

    def counted(q: Tensor, *_others: object) -> Tensor:
        calls.append(1)
        return q

    monkeypatch.setattr("sci_memeff.kernels.streaming.fused", counted)
    q, k, v = case((2, 3))
    for form in ("streaming", "blocked"):
        attend(form)(q, k, v, [key_bias(2, 1, 1, 7)])
        attend(form)(q, k, v, [torch.randn(3, 5, 7)])
    assert len(calls) == 2


def test_refuses_to_be_differentiated_twice():
    q, k, v = case((2, 3))
    out = fused(q, k, v, [])
    with pytest.raises(SecondDerivativeError, match="leave out create_graph=True"):
        torch.autograd.grad(out.sum(), [q, k, v], create_graph=True)


def test_is_counted_and_simulated_as_it_is():
    class Layer(nn.Module):
        def forward(self, *x: Tensor) -> Tensor:
            return attend("streaming")(x[0], x[1], x[2], x[3:])

    def step(model: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        return model(*inputs).sum()

    inputs = (*case((2, 3)), key_bias(2, 1, 1, 7))
    simulated = simulate(Layer(), step, inputs)
    with measure() as measured:
        step(Layer(), inputs).backward()
    assert simulated.peak == measured.peak
    products = 2 * 2 * 3 * 5 * 7 * 4
    assert simulated.flops == measured.flops == (2 + 5) * products
    with FlopCounterMode(display=False) as flops:
        attention(inputs[0], inputs[1], inputs[2], inputs[3:])
    assert flops.get_total_flops() == 2 * products
