from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from sci_memeff import measure
from sci_memeff.errors import SecondDerivativeError
from sci_memeff.kernels import attention
from sci_memeff.kernels.streaming import blocked, streaming

G = torch.Generator().manual_seed(0)
both = pytest.mark.parametrize("form", [streaming, blocked])


def normal(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=G, dtype=torch.float64).to(dtype)


def gradients(
    form: Callable[..., Tensor], inputs: list[Tensor], grad: Tensor
) -> tuple[Tensor, ...]:
    """The result, then the gradients of those inputs that require one."""
    out = form(*inputs[:3], inputs[3:])
    return out, *torch.autograd.grad(out, [x for x in inputs if x.requires_grad], grad)


def case(
    lead: tuple[int, ...],
    i: int,
    j: int,
    c: int,
    d: int,
    biases: list[tuple[int, ...]],
    dtype: torch.dtype = torch.float64,
) -> tuple[list[Tensor], Tensor]:
    shapes = [(*lead, i, c), (*lead, j, c), (*lead, j, d), *biases]
    inputs = [normal(*shape, dtype=dtype).requires_grad_() for shape in shapes]
    return inputs, normal(*lead, i, d, dtype=dtype)


CASES = {
    "mask and pair": ((3, 4), 5, 7, 8, 8, [(3, 1, 1, 7), (1, 4, 5, 7)]),
    "missing dimensions, and another width": ((3, 4), 5, 7, 8, 6, [(7,), (4, 1, 7), (5, 1)]),
    "a single head": ((), 5, 7, 8, 6, [(7,)]),
    "three leading dimensions": ((2, 3, 2), 5, 5, 4, 4, [(2, 1, 2, 5, 5), (3, 1, 1, 5)]),
    "no bias": ((3,), 5, 7, 8, 6, []),
    "no queries": ((2, 3), 0, 7, 8, 6, [(7,)]),
    "no keys": ((2, 3), 4, 0, 8, 6, [(4, 1)]),
    "no heads": ((2, 0), 4, 3, 8, 6, [(4, 3)]),
    "of each one": ((1, 1), 1, 1, 1, 1, [(1, 1, 1, 1)]),
    "few keys, many heads": ((50, 60, 2), 1, 4, 8, 8, [(50, 60, 1, 1, 4)]),
    "several tiles of heads": ((9, 5), 130, 120, 4, 4, [(9, 1, 1, 120), (1, 5, 130, 120)]),
    "several tiles of queries": ((2,), 900, 800, 2, 2, [(2, 900, 800), (800,)]),
}


@both
@pytest.mark.parametrize("name", CASES)
def test_agrees_with_the_reference(form: Callable[..., Tensor], name: str):
    inputs, grad = case(*CASES[name])
    found, wanted = gradients(form, inputs, grad), gradients(attention, inputs, grad)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


@both
def test_agrees_in_single_precision_where_heads_are_taken_one_by_one(form: Callable[..., Tensor]):
    inputs, grad = case((2, 2), 510, 500, 16, 8, [(2, 1, 1, 500), (2, 510, 500)], torch.float32)
    exact = gradients(attention, [x.detach().double().requires_grad_() for x in inputs], grad)
    found, wanted = gradients(form, inputs, grad), gradients(attention, inputs, grad)
    for one, other, truth in zip(found, wanted, exact, strict=True):
        assert (one - truth).abs().max() < 2 * (other - truth).abs().max()


@both
def test_gradcheck(form: Callable[..., Tensor]):
    inputs, _ = case((2, 2), 3, 4, 3, 2, [(2, 1, 1, 4), (2, 3, 4)])

    def of_all(q: Tensor, k: Tensor, v: Tensor, *biases: Tensor) -> Tensor:
        return form(q, k, v, biases)

    assert torch.autograd.gradcheck(of_all, inputs)


@both
def test_half_precision_is_as_near_to_the_truth_as_the_reference(form: Callable[..., Tensor]):
    inputs, grad = case((16, 2), 33, 40, 16, 16, [(16, 1, 1, 40), (2, 33, 40)], torch.bfloat16)
    exact = gradients(attention, [x.detach().double().requires_grad_() for x in inputs], grad)
    found, wanted = gradients(form, inputs, grad), gradients(attention, inputs, grad)
    for one, other, truth in zip(found, wanted, exact, strict=True):
        assert one.dtype == torch.bfloat16
        assert (one - truth).norm() < 1.1 * (other - truth).norm()


@both
def test_a_query_without_keys_attends_to_all_evenly(form: Callable[..., Tensor]):
    (q, k, v), grad = case((2,), 3, 5, 4, 4, [], torch.float32)
    bias = torch.full((5,), -1e9)
    out, *found = gradients(form, [q, k, v, bias], grad)
    torch.testing.assert_close(out, v.mean(-2, keepdim=True).expand(-1, 3, -1))
    assert all(x.isfinite().all() for x in found)


@both
def test_two_runs_give_the_same_bits(form: Callable[..., Tensor]):
    inputs, grad = case((6, 4), 64, 64, 16, 16, [(6, 1, 1, 64), (4, 64, 64)], torch.float32)
    for one, other in zip(
        gradients(form, inputs, grad), gradients(form, inputs, grad), strict=True
    ):
        assert torch.equal(one, other)


@both
def test_works_inside_a_checkpoint_and_leaves_its_inputs_alone(form: Callable[..., Tensor]):
    inputs, grad = case((2, 2), 5, 6, 4, 4, [(2, 5, 6)])
    before = [x.detach().clone() for x in inputs]

    def inside(q: Tensor, k: Tensor, v: Tensor, biases: list[Tensor]) -> Tensor:
        out = checkpoint(form, q, k, v, biases, use_reentrant=False)
        assert isinstance(out, Tensor)
        return out

    found, wanted = gradients(inside, inputs, grad), gradients(form, inputs, grad)
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(before, inputs, strict=True))


@both
def test_takes_what_autocast_would_make_of_its_operands(form: Callable[..., Tensor]):
    inputs, _ = case((2, 2), 5, 6, 4, 4, [(2, 5, 6)], torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        out = form(*inputs[:3], inputs[3:])
        wanted = attention(inputs[0], inputs[1], inputs[2], inputs[3:])
    assert out.dtype == wanted.dtype == torch.bfloat16
    torch.testing.assert_close(out, wanted, rtol=0.05, atol=0.05)
    for gradient, x in zip(torch.autograd.grad(out.sum(), inputs), inputs, strict=True):
        assert gradient.dtype == x.dtype


@both
def test_takes_biases_however_they_lie_in_memory(form: Callable[..., Tensor]):
    (q, k, v), grad = case((3, 2), 5, 6, 4, 4, [])
    bias = normal(5, 6, 2).movedim(-1, 0).requires_grad_()
    assert not bias.is_contiguous()
    found = gradients(form, [q, k, v, bias], grad)
    wanted = gradients(attention, [q, k, v, bias], grad)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


@both
def test_the_result_lies_in_memory_as_the_queries_do(form: Callable[..., Tensor]):
    q, k, v = (normal(3, 5, 2, 4).transpose(-2, -3) for _ in range(3))
    out = form(q, k, v)
    assert out.stride() == q.stride()  # so joining the heads again copies nothing


@both
def test_refuses_to_be_differentiated_twice(form: Callable[..., Tensor]):
    inputs, grad = case((2,), 3, 4, 3, 2, [])
    out = form(*inputs)
    with pytest.raises(SecondDerivativeError, match="put the attention 'reference' on"):
        torch.autograd.grad(out, inputs, grad, create_graph=True)


@pytest.mark.parametrize(("form", "kept"), [(streaming, 0), (blocked, 3 * 4 * 50 * 60 * 8)])
def test_keeps_nothing_but_its_inputs_or_the_probabilities(form: Callable[..., Tensor], kept: int):
    inputs, _ = case((3, 4), 50, 60, 8, 8, [(3, 1, 1, 60), (1, 4, 50, 60)])
    with measure() as bytes_:
        out = form(*inputs[:3], inputs[3:])
        del_me = out.detach()
    del del_me
    assert bytes_.over_time()["transient"][-1] == kept + out.nbytes
