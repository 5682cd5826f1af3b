"""How tiled attention looks to whoever counts, simulates, walks or recomputes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from sci_memeff import measure, simulate
from sci_memeff._types import Iterate
from sci_memeff.checkpointing import in_segments
from sci_memeff.chunking import walk
from sci_memeff.kernels import attention
from sci_memeff.kernels.streaming import blocked, streaming

Forms = Callable[..., Tensor]
both = pytest.mark.parametrize("form", [streaming, blocked])

R, H, I, J, C, D = 5, 3, 30, 20, 8, 4  # noqa: E741
LOGITS = R * H * I * J


class Layer(nn.Module):
    """Attention with a pair bias, all of whose inputs need gradients."""

    def __init__(self, form: Forms) -> None:
        super().__init__()
        self.form = form
        self.pair = nn.Parameter(torch.randn(H, I, J))

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        return self.form(q, k, v, ((mask - 1) * 1e9, self.pair))


def batch() -> tuple[Tensor, ...]:
    mask = (torch.rand(R, 1, 1, J) < 0.7).float()
    assert mask.any()
    assert not mask.all()
    shapes = ((R, H, I, C), (R, H, J, C), (R, H, J, D))
    return *(torch.randn(shape, requires_grad=True) for shape in shapes), mask


def step(model: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    return model(*inputs).square().sum()


@both
def test_simulated_and_measured_bytes_and_flops_agree(form: Forms):
    model, inputs = Layer(form), batch()
    simulated = simulate(model, step, inputs)
    with measure(model) as measured:
        step(model, inputs).backward()
    assert simulated.peak == measured.peak
    assert simulated.flops == measured.flops


@pytest.mark.parametrize(("form", "num_products"), [(streaming, 3), (blocked, 2)])
def test_every_product_counts_once(form: Forms, num_products: int):
    """With c channels: the logits and two gradients; with d, the result and two gradients."""
    *inputs, mask = batch()
    with FlopCounterMode(display=False) as forward:
        out = form(*inputs, (mask,))
    assert forward.get_total_flops() == 2 * LOGITS * (C + D)
    with FlopCounterMode(display=False) as backward:
        out.sum().backward()
    assert backward.get_total_flops() == 2 * LOGITS * (num_products * C + 2 * D)
    with FlopCounterMode(display=False) as reference:
        attention(inputs[0], inputs[1], inputs[2], (mask,)).sum().backward()
    recomputed = 2 * LOGITS * C * (num_products - 2)
    total = forward.get_total_flops() + backward.get_total_flops()
    assert total == reference.get_total_flops() + recomputed


@both
def test_fake_results_have_the_shapes_and_strides_of_real_ones(form: Forms):
    q = torch.randn(R, I, H, C).transpose(-2, -3)
    k, v = torch.randn(R, H, J, C), torch.randn(R, H, J, C)
    bias = torch.randn(I, J, H, dtype=torch.bfloat16).movedim(-1, 0)

    def layouts(*tensors: Tensor) -> list[tuple]:
        inputs = [x.detach().requires_grad_() for x in tensors]
        out = form(*inputs[:3], inputs[3:])
        gradients = torch.autograd.grad(out.sum(), inputs)
        return [(x.shape, x.stride(), x.dtype) for x in (out, *gradients)]

    with FakeTensorMode() as mode:
        fake = layouts(*map(mode.from_tensor, (q, k, v, bias)))
    assert fake == layouts(q, k, v, bias)


def test_what_tiles_are_computed_in_is_seen():
    q, k, v = inputs = torch.randn(3, 64, 8, 128, 16).unbind()
    bias = torch.randn(128, 128)
    with measure() as bytes_:
        out = streaming(q, k, v, (bias,))
    logits = 64 * 8 * 128 * 128 * 4
    over = bytes_.peak - sum(x.nbytes for x in (out, bias, *inputs))
    assert 4 << 20 <= over < 8 << 20 < logits


def test_segments_that_spare_attention_run_it_once():
    model, (q, *others) = Layer(streaming), batch()

    def count(iterate: Iterate) -> int:
        def layer(q: Tensor) -> tuple[Tensor]:
            return (model(q, *others).repeat(1, 1, 1, C // D),)

        with FlopCounterMode(display=False) as flops:
            iterate([layer, layer], (q,))[-1][0].sum().backward()
        return flops.get_total_flops()

    forward, backward = 2 * LOGITS * (C + D), 2 * LOGITS * (3 * C + 2 * D)
    assert count(in_segments(1, spare="attention")) == 2 * (forward + backward)
    assert count(in_segments(1)) == 2 * (2 * forward + backward)


@both
def test_a_walk_over_rows_gives_the_gradients_of_all_of_them(form: Forms):
    model, (q, k, v, mask) = Layer(form).double(), (x.double() for x in batch())
    inputs = [x.detach().requires_grad_() for x in (q, k, v)]
    leaves = [*inputs, model.pair]
    walked = walk(model, rows=(*inputs, mask), in_dims=-4, out_dims=-4, size=2)
    whole = attention(inputs[0], inputs[1], inputs[2], ((mask - 1) * 1e9, model.pair))
    grad = torch.randn_like(whole)
    found = torch.autograd.grad(walked, leaves, grad)
    for one, other in zip(found, torch.autograd.grad(whole, leaves, grad), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)
