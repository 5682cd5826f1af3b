"""Tiled attention as three operations of torch, each seen as one: by name, by FLOPs, by shapes.

Selective checkpointing finds "attention" in their names. FLOPs are counted by the formulas here,
on real and on fake tensors alike. What they compute in is a buffer that the caller makes, so
whoever counts bytes sees it too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from sci_memeff.kernels import tiled
from sci_memeff.kernels.tiles import tiles_of

__all__ = ["attention", "attention_backward", "attention_kept"]

# The workspace is written to and not declared so: nobody cares what is in it before or after, and
# torch.compile takes no operation that both writes and returns lists.
_library = torch.library.Library("sci_memeff", "FRAGMENT")
_library.define(
    "attention(Tensor q, Tensor k, Tensor v, Tensor[] biases, Tensor workspace) -> Tensor"
)
_library.define(
    "attention_kept(Tensor q, Tensor k, Tensor v, Tensor[] biases, Tensor workspace)"
    " -> (Tensor, Tensor[])"
)
_library.define(
    "attention_backward(Tensor grad, Tensor q, Tensor k, Tensor v, Tensor[] biases,"
    " bool[] needed, Tensor workspace, Tensor[] kept)"
    " -> (Tensor, Tensor, Tensor, Tensor[])"
)

attention = torch.ops.sci_memeff.attention
attention_kept = torch.ops.sci_memeff.attention_kept
attention_backward = torch.ops.sci_memeff.attention_backward


def _attention_kept(
    q: Tensor, k: Tensor, v: Tensor, biases: Sequence[Tensor], workspace: Tensor
) -> tuple[Tensor, list[Tensor]]:
    kept: list[Tensor] = []
    return tiled.forward(q, k, v, biases, workspace, kept=kept), kept


_library.impl("attention", tiled.forward, "CompositeExplicitAutograd")
_library.impl("attention_kept", _attention_kept, "CompositeExplicitAutograd")
_library.impl("attention_backward", tiled.backward, "CompositeExplicitAutograd")


def _fake_attention(
    q: Tensor, k: Tensor, v: Tensor, biases: Sequence[Tensor], workspace: Tensor
) -> Tensor:
    return tiled.out_like(q, v)


def _fake_attention_kept(
    q: Tensor, k: Tensor, v: Tensor, biases: Sequence[Tensor], workspace: Tensor
) -> tuple[Tensor, list[Tensor]]:
    shapes = tiles_of(q, k, v).shapes(k.shape[-2])
    return tiled.out_like(q, v), [q.new_empty(shape) for shape in shapes]


def _fake_attention_backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    biases: Sequence[Tensor],
    needed: Sequence[bool],
    workspace: Tensor,
    kept: Sequence[Tensor],
) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
    dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
    return dq, dk, dv, tiled.sums_like(biases, needed)


torch.library.register_fake("sci_memeff::attention", _fake_attention, lib=_library)
torch.library.register_fake("sci_memeff::attention_kept", _fake_attention_kept, lib=_library)
torch.library.register_fake(
    "sci_memeff::attention_backward", _fake_attention_backward, lib=_library
)


@register_flop_formula([attention, attention_kept])
def _flops(q: Sequence[int], k: Sequence[int], v: Sequence[int], *_: object, **__: object) -> int:
    return 2 * math.prod(q[:-1]) * k[-2] * (q[-1] + v[-1])


@register_flop_formula(attention_backward)
def _backward_flops(
    grad: Sequence[int],
    q: Sequence[int],
    k: Sequence[int],
    v: Sequence[int],
    biases: object,
    needed: object,
    workspace: object,
    kept: Sequence[object],
    **_: object,
) -> int:
    """Gradients of both products' factors, and the logits once more if they are not kept."""
    of_q_and_k = 2 * math.prod(q[:-1]) * k[-2] * q[-1]
    of_v = 2 * math.prod(q[:-1]) * k[-2] * v[-1]
    return (2 if kept else 3) * of_q_and_k + 2 * of_v
