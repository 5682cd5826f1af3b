"""Attention's operands as the fused kernels take them: groups of rows that share a pair bias.

Axes: g groups, r rows of a group, h heads, i queries, j keys, c channels. Any bias fits: one that
is the same for every query becomes a key bias (g, r, h, j), any other one a pair bias (g, h, i, j),
whose groups are the batch axes along which it varies. What is broadcast stays so (stride 0).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Size, Tensor

from sci_memeff.errors import CannotAttendError

__all__ = ["Arranged", "arrange", "readable"]

LONGEST_STRIDE = 2**24  # the kernels' offsets inside a tile of up to 128 rows have 32 bits


@dataclass(frozen=True)
class Arranged:
    """q (g, r, h, i, c), k and v (g, r, h, j, c), key bias (g, r, h, j), pair bias (g, h, i, j)."""

    q: Tensor
    k: Tensor
    v: Tensor
    key_bias: Tensor | None
    pair_bias: Tensor | None
    batch: Size
    order: tuple[int, ...]

    def restore(self, out: Tensor) -> Tensor:
        """`out`, shaped as `q` here, in the shape that q came in."""
        ordered = out.reshape([*[self.batch[d] for d in self.order], *out.shape[2:]])
        count = len(self.order)
        back = [self.order.index(d) for d in range(count)]
        return ordered.permute(*back, count, count + 1, count + 2)


def arrange(
    q: Tensor, k: Tensor, v: Tensor, biases: Sequence[Tensor], *, keys_by_head: bool = True
) -> Arranged:
    """Views of the operands wherever their strides allow.

    A pair bias without neighbouring keys is copied, g·h·i·j numbers. Several key biases are added
    up to one, several pair biases too: two that vary along different axes cost their common size.
    Without `keys_by_head`, key biases are those that no head has its own of and that need no
    gradient. CannotAttendError for shapes that do not fit together.
    """
    _check(q, k, v, biases)
    batch, num_axes = q.shape[:-3], q.dim()
    full = [bias.reshape((1,) * (num_axes - bias.dim()) + bias.shape) for bias in biases]
    for_keys = [b.shape[-2] == 1 and (keys_by_head or _is_plain(b)) for b in full]
    key_bias = _total([b for b, is_key in zip(full, for_keys, strict=True) if is_key])
    pair_bias = _total([b for b, is_key in zip(full, for_keys, strict=True) if not is_key])
    groups = [d for d in range(len(batch)) if pair_bias is not None and pair_bias.shape[d] > 1]
    rows = [d for d in range(len(batch)) if d not in groups]
    order = (*groups, *rows)
    num_groups = math.prod([batch[d] for d in groups])
    num_rows = math.prod([batch[d] for d in rows])

    def planes(x: Tensor) -> Tensor:
        ordered = x.permute(*order, *range(len(batch), num_axes))
        return ordered.reshape(num_groups, num_rows, *x.shape[-3:])

    if key_bias is not None:
        key_bias = planes(key_bias.expand(*batch, *key_bias.shape[-3:]))[..., 0, :]
        key_bias = key_bias.expand(-1, -1, q.shape[-3], k.shape[-2])
    if pair_bias is not None:
        pair_bias = pair_bias.permute(*order, *range(len(batch), num_axes))
        pair_bias = pair_bias.reshape(num_groups, *pair_bias.shape[-3:])
        if pair_bias.stride(-1) != 1 or pair_bias.stride(-2) >= LONGEST_STRIDE:
            pair_bias = pair_bias.contiguous()
        pair_bias = pair_bias.expand(-1, q.shape[-3], q.shape[-2], k.shape[-2])
    q, k, v = (readable(planes(x)) for x in (q, k, v))
    return Arranged(q, k, v, key_bias, pair_bias, batch, order)


def _check(q: Tensor, k: Tensor, v: Tensor, biases: Sequence[Tensor]) -> None:
    shapes = f"q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}"
    same = q.shape[:-2] == k.shape[:-2] and q.shape[-1] == k.shape[-1] and k.shape == v.shape
    if q.dim() < 3 or not same:
        raise CannotAttendError(
            f"a fused kernel cannot attend with {shapes}",
            mend="q is (*, heads, queries, channels), k and v (*, heads, keys, channels); expand "
            "them, or use the form 'reference'",
        )
    wanted = (*q.shape[:-1], k.shape[-2])
    for bias in biases:
        try:
            fits = torch.broadcast_shapes(bias.shape, wanted) == wanted
        except RuntimeError:
            fits = False
        if not fits:
            raise CannotAttendError(
                f"a bias {tuple(bias.shape)} does not broadcast to the logits {wanted} of {shapes}",
                mend="a bias is (*, heads, queries, keys), with 1 where it is the same",
            )


def _is_plain(bias: Tensor) -> bool:
    return bias.shape[-3] == 1 and not bias.requires_grad


def _total(biases: Sequence[Tensor]) -> Tensor | None:
    return sum(biases[1:], start=biases[0]) if biases else None


def readable(x: Tensor) -> Tensor:
    """x, copied unless its channels are neighbours and its rows not too far apart."""
    if x.stride(-1) != 1 or x.stride(-2) >= LONGEST_STRIDE:
        return x.contiguous()
    return x
