"""Products of matrices, one for each head, by the library that is the fastest at them.

torch gives single-precision products to MKL, which on AMD's processors is less than half as fast
as oneDNN (benchmarks/results/kernels.txt), which torch has for other uses. It takes one matrix at
a time, so it pays for large ones alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["add_product", "one_by_one", "product"]

_LARGE = 500 * 500  # elements of a result or an operand; below, MKL does many in one call


def one_by_one(like: Tensor, num_queries: int, num_keys: int) -> bool:
    """Whether products with (num_queries, num_keys) logits are faster a head at a time."""
    return (
        like.dtype == torch.float32
        and like.device.type == "cpu"
        and num_queries * num_keys >= _LARGE
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def product(x: Tensor, y: Tensor, out: Tensor) -> Tensor:
    """x (n, a, b) times y (n, b, c): in `out` (n, a, c), or in new memory."""
    if x.shape[0] != 1 or not one_by_one(x, *_two_largest(x, y)):
        return torch.bmm(x, y, out=out)
    if not x.is_contiguous():  # oneDNN would read it element by element
        return _linear(y.mT.contiguous(), x).mT
    return _linear(x, y.mT)


def add_product(x: Tensor, y: Tensor, addends: Sequence[Tensor], out: Tensor) -> Tensor:
    """x (n, a, b) times y (n, b, c), plus what broadcasts to `out` (*, a, c): there, or anew.

    `out` is contiguous, with as many heads in its leading dimensions as n.
    """
    shape = (len(x), *out.shape[-2:])
    if not addends:
        return product(x, y, out.view(shape))
    if len(x) != 1 or not one_by_one(x, *_two_largest(x, y)):
        if len(addends) == 1:
            out.copy_(addends[0])
        else:
            torch.add(addends[0].expand_as(out), addends[1], out=out)
        for one in addends[2:]:
            out.add_(one)
        return out.view(shape).baddbmm_(x, y)
    row = next((one for one in addends if one.numel() == one.shape[-1] == y.shape[-1]), None)
    total = _linear(x, y.mT, None if row is None else row.reshape(-1).to(x.dtype))
    for one in addends:
        if one is not row:
            total.view(out.shape).add_(one)
    return total


def _linear(x: Tensor, weight: Tensor, row: Tensor | None = None) -> Tensor:
    """x (1, a, b) times the transpose of weight (1, c, b), plus a row (c)."""
    return torch.ops.mkldnn._linear_pointwise(x[0], weight[0], row, "none", [], "")[None]


def _two_largest(x: Tensor, y: Tensor) -> list[int]:
    return sorted((*x.shape[1:], y.shape[2]))[1:]
