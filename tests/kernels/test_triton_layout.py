"""The grouped layout means the same attention, for any bias, and copies no more than it says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sci_memeff.errors import CannotAttendError
from sci_memeff.kernels.reference import attention
from sci_memeff.kernels.triton_layout import arrange, readable

G = torch.Generator().manual_seed(0)
H, Q, K, C = 2, 3, 5, 4


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=G, dtype=torch.float64)


def operands(*batch: int) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = (normal(*batch, n, H, C).transpose(-2, -3) for n in (Q, K, K))
    return q, k, v


def attend(q: Tensor, k: Tensor, v: Tensor, biases: list[Tensor], **how: bool) -> Tensor:
    """Attention in the arranged layout, every operand of exactly the shape that is promised."""
    x = arrange(q, k, v, biases, **how)
    g, r, h, i, c = x.q.shape
    assert (h, i, c) == (H, Q, C)
    logits = x.q @ x.k.mT * C**-0.5
    if x.key_bias is not None:
        assert x.key_bias.shape == (g, r, H, K)
        logits = logits + x.key_bias[..., None, :]
    if x.pair_bias is not None:
        assert x.pair_bias.shape == (g, H, Q, K)
        assert x.pair_bias.stride(-1) in (0, 1)
        logits = logits + x.pair_bias[:, None]
    return x.restore(logits.softmax(-1) @ x.v)


@pytest.mark.parametrize(
    ("batch", "shapes", "groups"),
    [
        ((), [(K,), (H, Q, K), (Q, 1), (1,)], 1),
        ((3,), [(3, 1, 1, K), (1, H, Q, K)], 1),
        ((3,), [(3, H, 1, K), (H, Q, K)], 1),
        ((3,), [(3, 1, Q, K), (H, 1, K)], 3),
        ((2, 3), [(2, 3, 1, 1, K), (2, 1, H, Q, K)], 2),
        ((2, 3), [(3, H, Q, K), (2, 1, 1, 1, K)], 3),
        ((2, 3), [(2, 1, H, Q, K), (3, 1, Q, K)], 6),
        ((2, 3, 4), [(2, 1, 4, H, Q, 1), (3, 1, 1, 1, K)], 8),
        ((1, 3), [(1, 1, H, Q, K)], 1),
    ],
)
def test_any_bias_and_its_gradient(batch, shapes, groups):
    q, k, v = operands(*batch)
    biases = [normal(*shape) for shape in shapes]
    needed = [x.requires_grad_() for x in (q, k, v, *biases)]
    found, wanted = attend(q, k, v, biases), attention(q, k, v, biases)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    grad = normal(*wanted.shape)
    for a, b in zip(
        torch.autograd.grad(found, needed, grad),
        torch.autograd.grad(wanted, needed, grad),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    assert arrange(q, k, v, biases).q.shape[0] == groups


def test_copies_neither_operands_nor_masks():
    q, k, v = operands(2, 3)
    mask, pair = normal(2, 3, 1, 1, K), normal(2, 1, H, Q, K)
    x = arrange(q, k, v, (mask, pair))
    pairs = [(x.q, q), (x.k, k), (x.v, v), (x.key_bias, mask), (x.pair_bias, pair)]
    assert all(a is not None and a.data_ptr() == b.data_ptr() for a, b in pairs)
    assert x.key_bias is not None
    assert x.key_bias.stride(2) == 0
    assert x.restore(x.q).data_ptr() == q.data_ptr()


def test_a_key_bias_without_heads_or_gradients():
    q, k, v = operands(3)
    mask, per_head, trained = normal(3, 1, 1, K), normal(H, 1, K), normal(1, 1, 1, K)
    trained.requires_grad_()
    x = arrange(q, k, v, (mask, per_head, trained), keys_by_head=False)
    assert x.key_bias is not None
    assert x.pair_bias is not None
    assert torch.equal(x.key_bias[0, :, 1], mask[:, 0, 0])
    assert torch.equal(x.pair_bias[0, :, 1], (per_head + trained)[0, :, 0])
    found = attend(q, k, v, [mask, per_head, trained], keys_by_head=False)
    torch.testing.assert_close(found, attention(q, k, v, (mask, per_head, trained)))


def test_copies_what_the_kernels_cannot_read():
    x = normal(1, 1, 2, 3, 4)
    assert readable(x) is x
    assert readable(x.mT).is_contiguous()
    far = torch.empty_strided((1, 1, 1, 2, 4), (0, 0, 0, 2**24, 1), device="meta")
    assert readable(far).is_contiguous()


def test_shapes_that_do_not_fit_are_refused():
    q, k, v = operands(3)
    for wrong in ((q, k[:1], v[:1]), (q, k, v[..., :2]), (q, k[..., :2], v), (q[0, 0], k, v)):
        with pytest.raises(CannotAttendError, match=r"cannot attend with q \(.*\n  mend: q is"):
            arrange(*wrong, ())
    for shape in ((K + 1,), (4, H, Q, K), (3, 3, H, Q, K)):
        with pytest.raises(CannotAttendError, match=r"does not broadcast.*\n  mend: a bias is"):
            arrange(q, k, v, (normal(*shape),))
