"""Attention and its gradients, a tile at a time, in memory that the caller gives.

Axes: n heads of a tile, i queries, j keys, c and d channels. Nothing here knows autograd. The
order of every addition is fixed, so two runs give the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sci_memeff.kernels.products import add_product, product
from sci_memeff.kernels.tiles import Index, lengths
from sci_memeff.kernels.workspace import Workspace

__all__ = ["backward", "forward", "out_like", "sums_like"]

_WORTH_A_CALL = 1 << 14  # elements


def forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    biases: Sequence[Tensor],
    buffer: Tensor,
    *,
    kept: list[Tensor] | None = None,
) -> Tensor:
    """The attention's result (*, i, d); adds each tile's probabilities to `kept`, if given.

    `buffer` has the bytes that `workspace_size` says.
    """
    biases, out = _with_dims(biases, q.dim()), out_like(q, v)
    space = Workspace(q, k, v, buffer, backward=False, kept=kept is not None)
    for lead in space.tiles:
        k_, v_ = space.load("k", k[lead]), space.load("v", v[lead])
        for rows in space.tiles.queries():
            index = (*lead, rows)
            q_ = space.load("q", q[index], scale=q.shape[-1] ** -0.5)
            if kept is None:
                p = space.take("p", *q_.shape[:2])
            else:
                p = q.new_empty((*q_.shape[:2], k_.shape[1]))
                kept.append(p)
            _write_probabilities(p, q_, k_, biases, index)
            part = out[index]
            part.copy_(product(p, v_, out=space.take("o", *q_.shape[:2])).view(part.shape))
    return out


def backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    biases: Sequence[Tensor],
    needed: Sequence[bool],
    buffer: Tensor,
    kept: Sequence[Tensor] = (),
) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
    """Gradients of q, k, v, and of the biases that need one (an empty tensor for the others).

    Those of half-precision biases are added up and returned in float32. The probabilities that
    `forward` did not keep are computed again.
    """
    wide, all_kept = _with_dims(biases, q.dim()), iter(kept)
    space = Workspace(q, k, v, buffer, backward=True, kept=bool(kept))
    make = torch.empty_like if q.shape[-2] else torch.zeros_like
    dq, dk, dv = torch.empty_like(q), make(k), make(v)
    dbiases = sums_like(biases, needed)
    sums = [x for x, need in zip(_with_dims(dbiases, q.dim()), needed, strict=True) if need]
    for lead in space.tiles:
        k_, v_ = space.load("k", k[lead]), space.load("v", v[lead])
        for rows in space.tiles.queries():
            index, is_first = (*lead, rows), rows.start == 0
            q_ = space.load("q", q[index], scale=q.shape[-1] ** -0.5)
            g_ = space.load("g", grad[index])
            n, i, j = len(q_), q_.shape[1], k_.shape[1]
            if kept:
                p = next(all_kept)
            else:
                p = space.take("p", n, i)
                _write_probabilities(p, q_, k_, wide, index)
            space.add("dv", product(p.mT, g_, out=space.take("dv", n, j)), first=is_first)
            s = product(g_, v_.mT, out=space.take("s", n, i))
            torch.ops.aten._softmax_backward_data.out(s, p, -1, s.dtype, grad_input=s)
            space.add("dk", product(s.mT, q_, out=space.take("dk", n, j)), first=is_first)
            for total in sums:
                _add(_part(total, index), s.view(*lengths(lead), i, j))
            part = dq[index]
            ds = product(s, k_, out=space.take("o", n, i)).view(part.shape)
            torch.mul(ds, q.shape[-1] ** -0.5, out=part)
        if q.shape[-2]:
            space.write_total("dk", dk[lead])
            space.write_total("dv", dv[lead])
    return dq, dk, dv, dbiases


def out_like(q: Tensor, v: Tensor) -> Tensor:
    """Memory for the result, laid out as q is where it can be."""
    if q.shape[-1] == v.shape[-1]:
        return torch.empty_like(q)
    return q.new_empty((*q.shape[:-1], v.shape[-1]))


def sums_like(biases: Sequence[Tensor], needed: Sequence[bool]) -> list[Tensor]:
    """Zeros in which gradients of biases are added up; nothing for those that need none."""
    return [
        torch.zeros_like(x, dtype=torch.promote_types(x.dtype, torch.float32))
        if need
        else x.new_empty(0)
        for x, need in zip(biases, needed, strict=True)
    ]


def _write_probabilities(
    p: Tensor, q: Tensor, k: Tensor, biases: Sequence[Tensor], index: Index
) -> None:
    """Into p (n, i, j), those of scaled queries (n, i, c) and keys (n, j, c)."""
    place = p.view(*lengths(index), p.shape[-1])
    logits = add_product(q, k.mT, [_part(bias, index) for bias in biases], out=place)
    torch.softmax(logits, -1, out=p)


def _with_dims(biases: Sequence[Tensor], dims: int) -> list[Tensor]:
    return [bias[(None,) * (dims - bias.dim())] for bias in biases]


def _part(bias: Tensor, index: Index) -> Tensor:
    """What of a bias belongs to a tile."""
    whole = slice(None)
    return bias[tuple(whole if n == 1 else s for n, s in zip(bias.shape, index, strict=False))]


def _add(total: Tensor, gradient: Tensor) -> None:
    """Add a gradient, summed over the dimensions in which `total` has length 1."""
    outermost = gradient.dim() and total.shape[0] == 1 and gradient.shape[0] > 1
    if outermost and gradient[0].numel() >= _WORTH_A_CALL:  # faster than a sum, and no copy
        for row in gradient:
            _add(total[0], row)
        return
    pairs = enumerate(zip(total.shape, gradient.shape, strict=True))
    dims = [dim for dim, (one, many) in pairs if one == 1 and many != 1]
    total.add_(gradient.sum(dims, keepdim=True, dtype=total.dtype) if dims else gradient)
