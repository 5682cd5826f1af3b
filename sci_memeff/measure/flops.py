"""Floating point operations of one operation, by the formulas of torch.utils.flop_counter.

A multiplication and an addition count as two. Only matrix products, convolutions and attention
have a formula; everything else counts as none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

__all__ = ["formula"]


def formula(func: Any) -> Callable[..., int] | None:
    """The function of an operation's arguments (and `out_val`) that counts its FLOPs, if any.

    Formulas that a program has registered with `register_flop_formula` are found too.
    """
    packet = getattr(func, "_overloadpacket", None)
    return _ON_PROCESSORS.get(packet) or flop_registry.get(packet)


def _attention(query: Any, key: Any, value: Any, *_args: Any, **_kwargs: Any) -> int:
    return sdpa_flop_count(query.shape, key.shape, value.shape)


def _attention_backward(
    grad: Any, query: Any, key: Any, value: Any, *_args: Any, **_kwargs: Any
) -> int:
    return sdpa_backward_flop_count(grad.shape, query.shape, key.shape, value.shape)


# torch registers its attention kernels for GPUs only
_ON_PROCESSORS: dict[Any, Callable[..., int]] = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}
