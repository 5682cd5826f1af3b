"""What anybody can do in two lines: checkpoints around blocks and sub-layers, softmax in place."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sci_memeff import Plan, Rule, apply
from sci_memeff.alphafold.evoformer import EvoformerBlock

__all__ = ["checkpointed", "with_two_lines"]


def checkpointed(module: nn.Module) -> nn.Module:
    """`module`, which recomputes itself in its backward pass."""
    module.forward = partial(checkpoint, module.forward, use_reentrant=False)
    return module


def with_two_lines(block: EvoformerBlock) -> nn.Module:
    """`block` with a checkpoint around it and around each of its nine sub-layers."""
    pair = block.pair_stack
    msa = (block.msa_att_row, block.msa_att_col, block.msa_transition, block.outer_product_mean)
    multiplications = (pair.tri_mul_out, pair.tri_mul_in)
    for layer in (*msa, *multiplications, pair.tri_att_start, pair.tri_att_end):
        checkpointed(layer)
    checkpointed(pair.pair_transition)
    in_place = Rule(where="*", seam="attend", use=_attend_in_place)
    return checkpointed(apply(block, Plan(rules=(in_place,))))


def _attend_in_place(q: Tensor, k: Tensor, v: Tensor, biases: Sequence[Tensor] = ()) -> Tensor:
    logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    for bias in biases:
        logits += bias
    probabilities: Any = _SoftmaxInPlace.apply(logits)
    return probabilities @ v


class _SoftmaxInPlace(torch.autograd.Function):
    """The softmax over the last axis, written where the logits stood."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor) -> Tensor:
        torch.softmax(logits, -1, out=logits)
        ctx.mark_dirty(logits)
        ctx.save_for_backward(logits)
        return logits

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Tensor:
        (found,) = ctx.saved_tensors
        (grad,) = grad_outputs
        # what reads the probabilities has had them by now, so their place is taken
        torch.ops.aten._softmax_backward_data.out(grad, found, -1, found.dtype, grad_input=found)
        return found
