"""Norms of half-precision tensors on a processor: as accurate as their results can be told."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from sci_memeff.precision import Computed
from sci_memeff.precision.norms import adds_up_in_half, layer_norm

from .test_casts import put

ROWS, C = 4096, 16


def gradients(norm, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> list[Tensor]:
    leaves = [None if t is None else t.clone().requires_grad_() for t in (x, weight, bias)]
    found = norm(leaves[0], (C,), leaves[1], leaves[2], 1e-5)
    found.backward(torch.randn(found.shape, generator=torch.Generator().manual_seed(2)).to(found))
    return [found.detach(), *(t.grad for t in leaves if t is not None)]


def cosine(a: Tensor, b: Tensor) -> float:
    return F.cosine_similarity(a.double().flatten(), b.double().flatten(), dim=0).item()


def case(affine: bool = True) -> tuple[Tensor, Tensor | None, Tensor | None]:
    torch.manual_seed(0)
    x = torch.randn(ROWS, C).bfloat16()
    return x, *((torch.randn(C), torch.randn(C)) if affine else (None, None))


def test_gradients_are_added_up_in_float32():
    x, weight, bias = case()
    exact = gradients(F.layer_norm, x.double(), weight.double(), bias.double())
    ours = gradients(layer_norm, x, weight, bias)
    assert [g.dtype for g in ours] == [torch.bfloat16, torch.bfloat16, torch.float32, torch.float32]
    assert min(map(cosine, ours, exact)) > 0.99999
    torch_s = gradients(F.layer_norm, x, weight.bfloat16(), bias.bfloat16())
    assert cosine(torch_s[2], exact[2]) < 0.999  # why this exists


@pytest.mark.parametrize("affine", [True, False])
def test_results_are_those_of_float32_rounded_once(affine):
    x, weight, bias = case(affine)
    wanted = F.layer_norm(x.float(), (C,), weight, bias).bfloat16()
    assert torch.equal(layer_norm(x, (C,), weight, bias, 1e-5), wanted)


def test_a_gradient_may_be_differentiated_again():
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, dtype=torch.float64, requires_grad=True)
    wide = [t.detach().float().requires_grad_() for t in (x, weight)]
    found = []
    for norm, (a, b) in ((F.layer_norm, (x, weight)), (layer_norm, wide)):
        y = norm(a, (4,), b, None, 1e-5)
        first = torch.autograd.grad(y.square().sum(), a, create_graph=True)[0]
        found.append(torch.autograd.grad(first.square().sum(), (a, b)))
    for ours, wanted in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(ours.double(), wanted, rtol=1e-3, atol=1e-3)


def test_what_is_kept_is_the_tensor_itself():
    x = case()[0].requires_grad_()
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        layer_norm(x, (C,), None, None, 1e-5)
    large = [t for t in kept if t.shape == x.shape]
    assert [t.data_ptr() for t in large] == [x.data_ptr()]


def test_only_processors_need_it():
    assert adds_up_in_half(torch.ones(1, dtype=torch.bfloat16))
    assert not adds_up_in_half(torch.ones(1))
    assert not adds_up_in_half(torch.ones(1, dtype=torch.bfloat16, device="meta"))


@pytest.mark.parametrize("bias", [True, False])
def test_layers_of_a_narrow_stream_use_it(bias):
    norm, x = nn.LayerNorm(C, bias=bias), case()[0].requires_grad_()
    put(norm, Computed(parameters="inputs", outputs="bfloat16"))(x).sum().backward()
    assert norm.weight.grad.dtype == torch.float32
    wanted = F.layer_norm(x.detach().double(), (C,)).sum(0)
    assert cosine(norm.weight.grad, wanted) > 0.9999
