"""Attention that keeps no probabilities, and attention that keeps those of one slice.

Both are computed a tile at a time, with every gradient by hand: those of q, k, v and of each bias,
however it is broadcast, in a fixed order of additions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sci_memeff.kernels import operators
from sci_memeff.kernels.fused import fits, fused, refuse_second_derivative
from sci_memeff.kernels.workspace import workspace_size

__all__ = ["blocked", "streaming"]


def streaming(
    q: Float[Tensor, "*q i c"],
    k: Float[Tensor, "*k j c"],
    v: Float[Tensor, "*k j d"],
    biases: Sequence[Tensor] = (),
) -> Float[Tensor, "*q i d"]:
    """softmax(q·kᵀ/√c + Σ biases)·v, an `Attend` that keeps its inputs for the backward pass.

    Not even each row's logsumexp is kept: a softmax anew is faster than exp(logits - logsumexp).
    The exception is single precision on processors with biases of the keys alone that need no
    gradient: there torch's own kernel is faster, and it keeps the result and the logsumexps.

    Works in tiles of at most 4 MiB of logits (64 MiB on other devices than processors), two of
    them in the backward pass. FLOPs: 2·i·j·(c + d) a head forward, 2·i·j·(3 c + 2 d) backward.
    Softmax and gradients of biases are in float32 for half-precision operands. Two runs give the
    same bits. SecondDerivativeError when the gradients are to be differentiated again.
    """
    return _attend(q, k, v, biases, keeps=False)


def blocked(
    q: Float[Tensor, "*q i c"],
    k: Float[Tensor, "*k j c"],
    v: Float[Tensor, "*k j d"],
    biases: Sequence[Tensor] = (),
) -> Float[Tensor, "*q i d"]:
    """softmax(q·kᵀ/√c + Σ biases)·v, an `Attend` that keeps the probabilities as well.

    As `streaming` otherwise, with 2·i·j·c FLOPs a head less in the backward pass, a fifth of its
    time: for walks, whose slices are differentiated as soon as they have been computed again.
    Elsewhere i·j numbers a head stay alive until the backward pass.
    """
    return _attend(q, k, v, biases, keeps=True)


def _attend(q: Tensor, k: Tensor, v: Tensor, biases: Sequence[Tensor], *, keeps: bool) -> Tensor:
    q, k, v = _as_autocast(q), _as_autocast(k), _as_autocast(v)
    lead = torch.broadcast_shapes(*(x.shape[:-2] for x in (q, k, v, *biases)))
    q, k, v = (x.expand(*lead, *x.shape[-2:]) for x in (q, k, v))
    if fits(q, k, v, biases):
        return fused(q, k, v, biases)
    tensors = (q, k, v, *biases)
    if torch.is_grad_enabled() and any(x.requires_grad for x in tensors):
        return _Attention.apply(keeps, *tensors)
    return operators.attention(q, k, v, _readable(biases), _buffer(q, k, v))


class _Attention(torch.autograd.Function):
    """The operations, with what each needs kept for the other."""

    @staticmethod
    def forward(ctx: Any, keeps: bool, q: Tensor, k: Tensor, v: Tensor, *biases: Tensor) -> Tensor:
        if keeps:
            buffer = _buffer(q, k, v, kept=True)
            out, kept = operators.attention_kept(q, k, v, _readable(biases), buffer)
            ctx.save_for_backward(q, k, v, *biases, *kept)
        else:
            out = operators.attention(q, k, v, _readable(biases), _buffer(q, k, v))
            ctx.save_for_backward(q, k, v, *biases)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivative()
        q, k, v, *others = ctx.saved_tensors
        needed = ctx.needs_input_grad[4:]
        biases, kept = others[: len(needed)], others[len(needed) :]
        buffer = _buffer(q, k, v, backward=True, kept=bool(kept))
        dq, dk, dv, found = operators.attention_backward(
            grad, q, k, v, _readable(biases), needed, buffer, kept
        )
        del buffer
        dbiases = (
            one.to(bias.dtype) if need else None
            for one, bias, need in zip(found, biases, needed, strict=True)
        )
        return None, dq, dk, dv, *dbiases


def _buffer(
    q: Tensor, k: Tensor, v: Tensor, *, backward: bool = False, kept: bool = False
) -> Tensor:
    size = workspace_size(q, k, v, backward=backward, kept=kept)
    return torch.empty(size, dtype=torch.uint8, device=q.device)


def _as_autocast(x: Tensor) -> Tensor:
    """What autocast would make of a factor of a product."""
    device = x.device.type
    if torch.is_autocast_enabled(device) and x.dtype != torch.float64:
        return x.to(torch.get_autocast_dtype(device))
    return x


def _readable(biases: Sequence[Tensor]) -> list[Tensor]:
    """The biases, with neighbouring keys side by side: every tile reads them."""
    return [x if x.stride(-1) == 1 or x.shape[-1] == 1 else x.contiguous() for x in biases]
