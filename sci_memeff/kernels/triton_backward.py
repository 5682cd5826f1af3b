"""The backward pass of attention with biases as Triton kernels. Imports triton, an extra.

No atomic additions: each gradient is added up by one program, in a fixed order, and written once.
Three kernels recompute the weights from the statistics of the forward pass, each with what it
adds up in registers: the gradients of a tile of queries over the keys; those of a tile of keys
over the queries; those of a tile of the pair bias over the rows that share it. That is 9 matrix
products where one kernel with atomics makes 5. Axes as in `triton_pieces`.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from sci_memeff.kernels.triton_pieces import (
    Planes,
    Sizes,
    attention_logits,
    matmul,
    read_key_bias,
    read_pair_bias,
    read_tile,
    split_plane,
    tiles_by_key,
    tiles_by_pair,
    tiles_by_query,
    write_tile,
)

__all__ = ["key_kernel", "pair_kernel", "query_kernel", "run_backward"]

# Enough programs to fill a large GPU a few times over. A constant, and not the number of this
# GPU's processors, so that the order of additions is the same everywhere.
ENOUGH_PROGRAMS = 512
MOST_SPLITS = 16


@triton.jit
def read_statistics(peak, spread, where, inside):
    """Of queries: the largest logit, and log₂ Σ 2^(logit - largest)."""
    # An infinite peak gives queries beyond the end no weight, whatever the biases are.
    largest = tl.load(peak + where, mask=inside, other=float("inf"))
    return largest, tl.load(spread + where, mask=inside, other=0.0)


@triton.jit
def query_kernel(
    q,
    k,
    v,
    key_bias,
    pair_bias,
    out,
    grad_out,
    peak,
    spread,
    delta,
    grad_q,
    scale,
    sizes,
    HELD: tl.constexpr,
    READ: tl.constexpr,
    CHANNELS: tl.constexpr,
    WIDEN: tl.constexpr,
):
    """The gradient of q; and `delta`, Σ out·grad_out over channels, for the kernels after it."""
    num_tiles = tl.cdiv(sizes.i, HELD)
    plane = tl.program_id(0) // num_tiles
    start_i = tl.program_id(0) % num_tiles * HELD
    at = split_plane(plane, sizes)
    i, j = tl.arange(0, HELD), tl.arange(0, READ)[None, :]
    where = tl.cast(plane, tl.int64) * sizes.i + start_i + i
    grad = read_tile(grad_out, at, start_i, sizes.i, sizes.c, HELD, CHANNELS)
    mean = read_tile(out, at, start_i, sizes.i, sizes.c, HELD, CHANNELS)
    deltas = tl.sum(grad.to(tl.float32) * mean.to(tl.float32), 1)
    tl.store(delta + where, deltas, mask=start_i + i < sizes.i)
    largest, width = read_statistics(peak, spread, where, start_i + i < sizes.i)
    queries = read_tile(q, at, start_i, sizes.i, sizes.c, HELD, CHANNELS)
    total = tl.zeros((HELD, CHANNELS), tl.float32)
    for start_j in range(0, sizes.j, READ):
        keys = read_tile(k, at, start_j, sizes.j, sizes.c, READ, CHANNELS)
        values = read_tile(v, at, start_j, sizes.j, sizes.c, READ, CHANNELS)
        bias = read_pair_bias(pair_bias, at, start_i, i[:, None], start_j, j, sizes)
        bias += read_key_bias(key_bias, at, start_j, j, sizes.j)
        products = matmul(queries, tl.trans(keys), None, WIDEN)
        logits = attention_logits(products, scale, bias, start_j + j, sizes.j)
        weights = tl.exp2(logits - largest[:, None] - width[:, None])
        change = weights * (matmul(grad, tl.trans(values), None, WIDEN) - deltas[:, None])
        total = matmul(change.to(keys.dtype), keys, total, WIDEN)
    write_tile(grad_q, at, start_i, sizes.i, sizes.c, total * scale, HELD, CHANNELS)


@triton.jit
def key_kernel(
    q,
    k,
    v,
    key_bias,
    pair_bias,
    grad_out,
    peak,
    spread,
    delta,
    grad_k,
    grad_v,
    grad_key_bias,
    scale,
    sizes,
    HELD: tl.constexpr,
    READ: tl.constexpr,
    CHANNELS: tl.constexpr,
    WIDEN: tl.constexpr,
):
    """The gradients of k, of v and, unless `grad_key_bias` is None, of the key bias."""
    num_tiles = tl.cdiv(sizes.j, HELD)
    plane = tl.program_id(0) // num_tiles
    start_j = tl.program_id(0) % num_tiles * HELD
    at = split_plane(plane, sizes)
    i, j = tl.arange(0, READ), tl.arange(0, HELD)
    keys = read_tile(k, at, start_j, sizes.j, sizes.c, HELD, CHANNELS)
    values = read_tile(v, at, start_j, sizes.j, sizes.c, HELD, CHANNELS)
    of_keys = read_key_bias(key_bias, at, start_j, j[:, None], sizes.j)
    total_k = tl.zeros((HELD, CHANNELS), tl.float32)
    total_v = tl.zeros((HELD, CHANNELS), tl.float32)
    total_bias = tl.zeros((HELD,), tl.float32)
    for start_i in range(0, sizes.i, READ):
        where = tl.cast(plane, tl.int64) * sizes.i + start_i + i
        largest, width = read_statistics(peak, spread, where, start_i + i < sizes.i)
        deltas = tl.load(delta + where, mask=start_i + i < sizes.i, other=0.0)
        queries = read_tile(q, at, start_i, sizes.i, sizes.c, READ, CHANNELS)
        grad = read_tile(grad_out, at, start_i, sizes.i, sizes.c, READ, CHANNELS)
        bias = read_pair_bias(pair_bias, at, start_i, i[None, :], start_j, j[:, None], sizes)
        products = matmul(keys, tl.trans(queries), None, WIDEN)
        logits = attention_logits(products, scale, bias + of_keys, start_j + j[:, None], sizes.j)
        weights = tl.exp2(logits - largest[None, :] - width[None, :])
        total_v = matmul(weights.to(grad.dtype), grad, total_v, WIDEN)
        change = weights * (matmul(values, tl.trans(grad), None, WIDEN) - deltas[None, :])
        total_k = matmul(change.to(queries.dtype), queries, total_k, WIDEN)
        if grad_key_bias is not None:
            total_bias += tl.sum(change, 1)
    write_tile(grad_k, at, start_j, sizes.j, sizes.c, total_k * scale, HELD, CHANNELS)
    write_tile(grad_v, at, start_j, sizes.j, sizes.c, total_v, HELD, CHANNELS)
    if grad_key_bias is not None:
        where = tl.cast(plane, tl.int64) * sizes.j + start_j + j
        tl.store(grad_key_bias + where, total_bias, mask=start_j + j < sizes.j)


@triton.jit
def pair_kernel(
    q,
    k,
    v,
    key_bias,
    pair_bias,
    grad_out,
    peak,
    spread,
    delta,
    grad_pair_bias,
    scale,
    sizes,
    rows_each,
    HELD: tl.constexpr,
    READ: tl.constexpr,
    CHANNELS: tl.constexpr,
    WIDEN: tl.constexpr,
):
    """The gradient of the pair bias (g, h, i, j), summed over `rows_each` rows, one after another.

    `grad_pair_bias` is (splits, g, h, i, j), contiguous; HELD × READ of it are held.
    """
    tiles_i = tl.cdiv(sizes.i, HELD)
    tiles_j = tl.cdiv(sizes.j, READ)
    plane = tl.program_id(0) // (tiles_i * tiles_j)
    start_i = tl.program_id(0) // tiles_j % tiles_i * HELD
    start_j = tl.program_id(0) % tiles_j * READ
    i, j = tl.arange(0, HELD), tl.arange(0, READ)
    h = tl.cast(plane % sizes.h, tl.int64)
    g = tl.cast(plane // sizes.h % sizes.g, tl.int64)
    first = plane // (sizes.h * sizes.g) * rows_each
    of_pairs = read_pair_bias(pair_bias, (g, 0, h), start_i, i[:, None], start_j, j[None, :], sizes)
    total = tl.zeros((HELD, READ), tl.float32)
    for row in range(first, tl.minimum(first + rows_each, sizes.r)):
        at = (g, tl.cast(row, tl.int64), h)
        where = ((g * sizes.r + row) * sizes.h + h) * sizes.i + start_i + i
        largest, width = read_statistics(peak, spread, where, start_i + i < sizes.i)
        deltas = tl.load(delta + where, mask=start_i + i < sizes.i, other=0.0)
        queries = read_tile(q, at, start_i, sizes.i, sizes.c, HELD, CHANNELS)
        keys = read_tile(k, at, start_j, sizes.j, sizes.c, READ, CHANNELS)
        values = read_tile(v, at, start_j, sizes.j, sizes.c, READ, CHANNELS)
        grad = read_tile(grad_out, at, start_i, sizes.i, sizes.c, HELD, CHANNELS)
        bias = of_pairs + read_key_bias(key_bias, at, start_j, j[None, :], sizes.j)
        products = matmul(queries, tl.trans(keys), None, WIDEN)
        logits = attention_logits(products, scale, bias, start_j + j[None, :], sizes.j)
        weights = tl.exp2(logits - largest[:, None] - width[:, None])
        total += weights * (matmul(grad, tl.trans(values), None, WIDEN) - deltas[:, None])
    rows = (tl.cast(plane, tl.int64) * sizes.i + start_i + i) * sizes.j
    inside = (start_i + i < sizes.i)[:, None] & (start_j + j < sizes.j)[None, :]
    where = grad_pair_bias + rows[:, None] + (start_j + j)[None, :]
    tl.store(where, total.to(grad_pair_bias.dtype.element_ty), mask=inside)


def run_backward(
    inputs: tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None],
    out: Tensor,
    statistics: Tensor,
    grad_out: Tensor,
    grads: tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None],
) -> None:
    """Write to `grads`, those of `inputs`, which is what `run_forward` took, in its order.

    The gradients of the biases, each left out if None, are contiguous, (g, r, h, j) in float32
    and (g, h, i, j).
    """
    q, k, v, key_bias, pair_bias = inputs
    grad_q, grad_k, grad_v, grad_key_bias, grad_pair_bias = grads
    delta = torch.empty_like(statistics[0])
    sizes = Sizes.of(q, k)
    operands = (
        Planes.of(q),
        Planes.of(k),
        Planes.of(v),
        None if key_bias is None else Planes.of(key_bias),
        None if pair_bias is None else Planes.of(pair_bias),
    )
    known = (Planes.of(grad_out), statistics[0], statistics[1], delta)
    planes, scale = sizes.g * sizes.r * sizes.h, sizes.c**-0.5
    tile = tiles_by_query(q.dtype, sizes)
    query_kernel[(planes * triton.cdiv(sizes.i, tile.held),)](
        *operands, Planes.of(out), *known, Planes.of(grad_q), scale, sizes, **tile.launch()
    )
    tile = tiles_by_key(q.dtype, sizes)
    own = (Planes.of(grad_k), Planes.of(grad_v), grad_key_bias)
    key_kernel[(planes * triton.cdiv(sizes.j, tile.held),)](
        *operands, *known, *own, scale, sizes, **tile.launch()
    )
    if grad_pair_bias is not None:
        _run_pair((*operands, *known), q.dtype, sizes, grad_pair_bias)


def _run_pair(operands: tuple[Any, ...], dtype: torch.dtype, sizes: Sizes, grad: Tensor) -> None:
    """The gradient of the pair bias; of few pairs, in parts, together at most 8 MB."""
    tile = tiles_by_pair(dtype, sizes)
    programs = triton.cdiv(sizes.i, tile.held) * triton.cdiv(sizes.j, tile.read)
    programs *= sizes.g * sizes.h
    splits = max(1, min(MOST_SPLITS, sizes.r // 16, ENOUGH_PROGRAMS // programs))
    rows_each = triton.cdiv(sizes.r, splits)
    parts = grad
    if splits > 1:
        parts = torch.empty(splits, *grad.shape, dtype=torch.float32, device=grad.device)
    arguments: Any = (*operands, parts, sizes.c**-0.5, sizes, rows_each)
    pair_kernel[(splits * programs,)](*arguments, **tile.launch())
    if splits > 1:
        grad.copy_(parts.sum(0))
