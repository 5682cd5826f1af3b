"""How gradients of slices are put together."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sci_memeff.chunking import walk
from sci_memeff.chunking.gradients import RowGradient, SummedGradient
from sci_memeff.chunking.slices import cut


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_summed_in_single(dtype):
    """300 times 1 is 256 in bfloat16, for 256 + 1 is rounded to 256; 0.1 is coarse in both."""
    scale = nn.Linear(1, 1, bias=False).to(dtype)
    nn.init.ones_(scale.weight)
    x = torch.full((300, 1), 0.1, dtype=dtype)
    shared = torch.zeros(1, dtype=dtype, requires_grad=True)

    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = scale

        def forward(self, x: Tensor, shared: Tensor) -> Tensor:
            return x * self.scale.weight[0] + shared

    out = walk(Sum(), rows=(x,), shared=(shared,), in_dims=-2, out_dims=-2, size=1)
    out.backward(torch.ones_like(out))
    assert shared.grad.dtype == dtype
    assert shared.grad.item() == 300
    assert scale.weight.grad.item() == torch.tensor(300 * x[0, 0].item()).to(dtype).item()


def test_a_gradient_that_autograd_hands_to_two_is_left_alone():
    """x + y + z: one tensor is everybody's gradient, the caller's own among them."""
    x, y = torch.zeros(4, 3, requires_grad=True), torch.zeros(4, 3, requires_grad=True)
    z = torch.zeros(2, 3, requires_grad=True)
    out = walk(lambda x, y, z: x + y + z, rows=(x, y), shared=(z,), in_dims=-2, out_dims=-2, size=2)
    given = torch.arange(12.0).reshape(4, 3)
    out.backward(given)
    assert torch.equal(given, torch.arange(12.0).reshape(4, 3))
    assert torch.equal(x.grad, given)
    assert torch.equal(y.grad, given)
    assert torch.equal(z.grad, given[:2] + given[2:])


def test_rows_that_some_slices_do_not_read():
    row = torch.ones(5, 2)
    slices = cut([row], -2, 2)
    place = RowGradient(row, -2, slices)
    for (start, length), value in zip(slices, (None, 3.0, None), strict=True):
        gradient = None if value is None else torch.full((length, 2), value)
        place.add(gradient, start, length)
    assert place.total().tolist() == [[0, 0], [0, 0], [3, 3], [3, 3], [0, 0]]


def test_nothing_at_all():
    row = torch.ones(5, 2)
    slices = cut([row], -2, 2)
    for place in (RowGradient(row, -2, slices), SummedGradient(row, slices)):
        for start, length in slices:
            place.add(None, start, length)
        assert place.total() is None


def test_expanded_operands_get_gradients_of_their_own():
    shared = torch.zeros(1, requires_grad=True)
    x = torch.ones(4, 3)
    out = walk(
        lambda x, s: x * s,
        rows=(x,),
        shared=(shared.expand(3),),
        in_dims=-2,
        out_dims=-2,
        size=1,
    )
    out.sum().backward()
    assert shared.grad.item() == 12
