"""Layer normalisation of half-precision tensors, in float32 where torch's own kernel is not.

torch's kernel for processors adds up the gradients of weights and biases in the dtype of the
input: over a few thousand rows of bfloat16 they keep a cosine of 0.99, and 0.92 in a network whose
roundings have a direction. That for GPUs adds them up in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["adds_up_in_half", "layer_norm"]

_HALF = (torch.bfloat16, torch.float16)


def adds_up_in_half(x: Tensor) -> bool:
    """Whether torch's own kernel would add up gradients in half precision."""
    return x.device.type == "cpu" and x.dtype in _HALF


def layer_norm(
    x: Tensor, shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """`F.layer_norm`, computed in float32 and given in the dtype of `x`, which is what it keeps.

    Costs a float32 copy of `x` and of the result while it computes, and of their gradients.
    """
    return _LayerNorm.apply(x, shape, _wide(weight), _wide(bias), eps)


def _wide(parameter: Tensor | None) -> Tensor | None:
    return None if parameter is None else parameter.float()


class _LayerNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        shape: Sequence[int],
        weight: Tensor | None,
        bias: Tensor | None,
        eps: float,
    ) -> Tensor:
        found, mean, rstd = torch.native_layer_norm(x.float(), shape, weight, bias, eps)
        ctx.save_for_backward(x, weight, bias, mean, rstd)
        ctx.shape = shape
        return found.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, rstd = ctx.saved_tensors
        needed = [ctx.needs_input_grad[i] for i in (0, 2, 3)]
        dx, dweight, dbias = torch.ops.aten.native_layer_norm_backward(
            grad.float(), x.float(), ctx.shape, mean, rstd, weight, bias, needed
        )
        return None if dx is None else dx.to(x.dtype), None, dweight, dbias, None
