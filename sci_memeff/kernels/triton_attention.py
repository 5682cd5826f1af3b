"""Attention with additive biases in Triton kernels, for NVIDIA GPUs: exact and deterministic.

Keeps q, k, v, the result and two numbers a query for the backward pass, never the logits. Seen by
torch as two operations, `sci_memeff::triton_attention` and its backward, each with its shapes and
FLOPs, so it runs on fake tensors without a GPU and selective checkpointing finds it by name.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from sci_memeff.errors import CannotAttendError, MissingPackageError, SecondDerivativeError
from sci_memeff.kernels.triton_layout import arrange, readable

__all__ = ["triton_attention"]

WIDEST = 128
DTYPES = (torch.bfloat16, torch.float16, torch.float32)


def triton_attention(
    q: Float[Tensor, "*b h i c"],
    k: Float[Tensor, "*b h j c"],
    v: Float[Tensor, "*b h j c"],
    biases: Sequence[Tensor] = (),
) -> Float[Tensor, "*b h i c"]:
    """softmax(q·kᵀ/√c + Σ biases)·v, an `Attend`.

    Each bias broadcasts to the logits and may need a gradient. Softmax and sums are in float32
    for every type; products of float32 are not rounded to TF32. A query whose every logit is -∞
    gives zeros. Two runs give the same bits.

    Bytes kept: q, k, v, the result and 8 a query and head. FLOPs: 4·i·j·c a head forward, 14·i·j·c
    backward and 4·i·j·c for the gradient of a bias that varies with the query. Such biases are
    added up to one; if it varies along batch axes, so does its gradient, i·j·h numbers for each.

    CannotAttendError off the GPU, for other types, for more than 128 channels and for shapes that
    do not fit; MissingPackageError without triton; SecondDerivativeError when the gradients are
    differentiated again.
    """
    _check(q, k, v)
    arranged = arrange(q, k, v, biases)
    out, _ = torch.ops.sci_memeff.triton_attention(
        arranged.q, arranged.k, arranged.v, arranged.key_bias, arranged.pair_bias
    )
    return arranged.restore(out)


def _check(q: Tensor, k: Tensor, v: Tensor) -> None:
    if q.dtype not in DTYPES or k.dtype != q.dtype or v.dtype != q.dtype:
        raise CannotAttendError(
            f"the Triton kernels cannot attend with q {q.dtype}, k {k.dtype} and v {v.dtype}",
            mend="make them all bfloat16, float16 or float32, or use the form 'streaming' or "
            "'reference'",
        )
    if q.shape[-1] > WIDEST:
        raise CannotAttendError(
            f"heads of {q.shape[-1]} channels are wider than the Triton kernels' {WIDEST}",
            mend="use the form 'streaming' or 'reference'",
        )


def _kernels(q: Tensor) -> tuple[ModuleType, ModuleType]:
    """The modules that launch the kernels, if they can run on q's device."""
    try:
        from triton import knobs
    except ImportError as error:
        raise MissingPackageError(
            "the form 'triton' of attention needs triton", mend="pip install 'sci-memeff[triton]'"
        ) from error
    if q.device.type != "cuda" and not knobs.runtime.interpret:
        raise CannotAttendError(
            f"the Triton kernels cannot run on {q.device}",
            mend="move the model and its batch to a CUDA device, or use the form 'streaming'",
        )
    from sci_memeff.kernels import triton_backward, triton_forward

    return triton_forward, triton_backward


@torch.library.custom_op(
    "sci_memeff::triton_attention",
    mutates_args=(),
    schema="(Tensor q, Tensor k, Tensor v, Tensor? key_bias, Tensor? pair_bias)"
    " -> (Tensor, Tensor)",
)
def _attend(
    q: Tensor, k: Tensor, v: Tensor, key_bias: Tensor | None, pair_bias: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The result and, for the backward pass, statistics of the logits; shapes as in `Arranged`."""
    forward, _ = _kernels(q)
    out, statistics = _attend_like(q, k, v, key_bias, pair_bias)
    if not q.numel() or not k.numel():
        return out.zero_(), statistics.zero_()
    with torch.cuda.device_of(q):
        forward.run_forward(q, k, v, key_bias, pair_bias, out, statistics)
    return out, statistics


@_attend.register_fake
def _attend_like(
    q: Tensor, k: Tensor, v: Tensor, key_bias: Tensor | None, pair_bias: Tensor | None
) -> tuple[Tensor, Tensor]:
    # Laid out as q is: where the heads are channels of one linear layer, no copy joins them again.
    return torch.empty_like(q), q.new_empty((2, *q.shape[:-1]), dtype=torch.float32)


@torch.library.custom_op(
    "sci_memeff::triton_attention_backward",
    mutates_args=(),
    schema="(Tensor grad, Tensor q, Tensor k, Tensor v, Tensor? key_bias, Tensor? pair_bias,"
    " Tensor out, Tensor statistics, bool with_key_bias, bool with_pair_bias)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def _differentiate(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    key_bias: Tensor | None,
    pair_bias: Tensor | None,
    out: Tensor,
    statistics: Tensor,
    with_key_bias: bool,
    with_pair_bias: bool,
) -> tuple[Tensor, ...]:
    """The gradients of the first five; those of the biases are empty if they are not wanted."""
    inputs = (q, k, v, key_bias, pair_bias)
    grads = _like_inputs(grad, *inputs, out, statistics, with_key_bias, with_pair_bias)
    if not q.numel() or not k.numel():
        return tuple(x.zero_() for x in grads)
    wanted = (*grads[:3], grads[3] if with_key_bias else None, grads[4] if with_pair_bias else None)
    _, backward = _kernels(q)
    with torch.cuda.device_of(q):
        backward.run_backward(inputs, out, statistics, readable(grad), wanted)
    return grads


@_differentiate.register_fake
def _like_inputs(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    key_bias: Tensor | None,
    pair_bias: Tensor | None,
    out: Tensor,
    statistics: Tensor,
    with_key_bias: bool,
    with_pair_bias: bool,
) -> tuple[Tensor, ...]:
    # A key bias is added to every query of a row: its gradient is summed in float32.
    of_keys = key_bias.shape if with_key_bias and key_bias is not None else (0,)
    of_pairs = pair_bias.shape if with_pair_bias and pair_bias is not None else (0,)
    return (
        torch.empty_like(q),
        torch.empty_like(k),
        torch.empty_like(v),
        q.new_empty(of_keys, dtype=torch.float32),
        q.new_empty(of_pairs, dtype=q.dtype if pair_bias is None else pair_bias.dtype),
    )


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs, *output)
    ctx.mark_non_differentiable(output[1])


def _backward(ctx: Any, grad: Tensor | None, _: Any) -> tuple[Tensor | None, ...]:
    if torch.is_grad_enabled():
        raise SecondDerivativeError(
            "the backward pass of the Triton kernels keeps no graph, so it cannot be "
            "differentiated again",
            mend="leave out create_graph=True, or use the form 'reference'",
        )
    if grad is None:
        return (None,) * 5
    *inputs, out, statistics = ctx.saved_tensors
    needed = ctx.needs_input_grad
    grads = list(
        torch.ops.sci_memeff.triton_attention_backward(
            grad, *inputs, out, statistics, needed[3], needed[4]
        )
    )
    if needed[3]:
        grads[3] = grads[3].to(inputs[3].dtype)
    return tuple(x if wanted else None for x, wanted in zip(grads, needed, strict=True))


_attend.register_autograd(_backward, setup_context=_keep)


@register_flop_formula(torch.ops.sci_memeff.triton_attention)
def _flops(q: Sequence[int], k: Sequence[int], *_: Any, **__: Any) -> int:
    """Two products a logit."""
    return 4 * math.prod(q) * k[-2]


@register_flop_formula(torch.ops.sci_memeff.triton_attention_backward)
def _flops_backward(
    grad: Sequence[int], q: Sequence[int], k: Sequence[int], *others: Any, **_: Any
) -> int:
    """Seven products a logit, and two more for the gradient of a pair bias."""
    return (18 if others[-1] else 14) * math.prod(q) * k[-2]
