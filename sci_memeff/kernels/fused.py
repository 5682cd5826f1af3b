"""torch's own fused attention for processors, where it is the fastest and gives what is needed.

That is single precision, and biases that are the same for every query and need no gradient, as in
attention along columns. It has no gradient for a bias, and takes a pair bias summed up with the
mask for every row. It keeps the result and a logsumexp a query.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sci_memeff.errors import SecondDerivativeError

__all__ = ["fits", "fused", "refuse_second_derivative"]


def fits(q: Tensor, k: Tensor, v: Tensor, biases: Sequence[Tensor]) -> bool:
    """Whether `fused` can be used, and is worth it."""
    return (
        q.device.type == "cpu"
        and q.dtype == k.dtype == v.dtype == torch.float32
        and q.shape[-1] == v.shape[-1]
        and min(q.numel(), k.numel()) > 0
        and q.dim() > 2
        and all(x.stride(-1) == 1 for x in (q, k, v))
        and all(_is_of_keys(bias) for bias in biases)
    )


def fused(q: Tensor, k: Tensor, v: Tensor, biases: Sequence[Tensor]) -> Tensor:
    """softmax(q·kᵀ/√c + Σ biases)·v for q (*, h, i, c), k and v (*, h, j, c)."""
    batch, num_keys = q.shape[:-3], k.shape[-2]
    mask = None
    if biases:
        mask = sum(biases[1:], biases[0])
        heads = mask.shape[-3] if mask.dim() > 2 else 1
        mask = mask.expand(*batch, heads, 1, num_keys).reshape(-1, heads, 1, num_keys).to(q.dtype)
    factors = (x.reshape(-1, *x.shape[-3:]) for x in (q, k, v))
    return _Fused.apply(*factors, mask).view(q.shape)


class _Fused(torch.autograd.Function):
    """The two operations, for factors (b, h, i, c)."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        out, logsumexp = _attention(q, k, v, attn_mask=mask)
        ctx.save_for_backward(q, k, v, mask, out, logsumexp)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivative()
        q, k, v, mask, out, logsumexp = ctx.saved_tensors
        given = (grad, q, k, v, out, logsumexp)
        return *_attention_backward(*given, 0.0, False, attn_mask=mask), None


_attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_attention_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def refuse_second_derivative() -> None:
    """SecondDerivativeError in a backward pass that is to have a graph."""
    if torch.is_grad_enabled():
        raise SecondDerivativeError(
            "the backward pass of this attention keeps no graph, so it cannot be differentiated "
            "again",
            mend="leave out create_graph=True, or put the attention 'reference' on the modules "
            "that are differentiated twice",
        )


def _is_of_keys(bias: Tensor) -> bool:
    """Whether a bias is the same for every query, and is to have no gradient."""
    needed = torch.is_grad_enabled() and bias.requires_grad
    return not needed and (bias.dim() < 2 or bias.shape[-2] == 1)
