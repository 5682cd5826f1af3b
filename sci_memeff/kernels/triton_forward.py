"""The forward pass of attention with biases as a Triton kernel. Imports triton, an extra.

A program holds one tile of queries and reads the keys tile by tile, with the running maximum and
sum of Milakov and Gimelshein (2018), as FlashAttention does (Dao et al., 2022). Axes as in
`triton_pieces`.
"""

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
    tiles_by_query,
    write_tile,
)

__all__ = ["forward_kernel", "run_forward"]


@triton.jit
def forward_kernel(
    q,
    k,
    v,
    key_bias,
    pair_bias,
    out,
    peak,
    spread,
    scale,
    sizes,
    HELD: tl.constexpr,
    READ: tl.constexpr,
    CHANNELS: tl.constexpr,
    WIDEN: tl.constexpr,
):
    """Writes `out`, and for each query its largest logit and log₂ Σ 2^(logit - largest)."""
    num_tiles = tl.cdiv(sizes.i, HELD)
    plane = tl.program_id(0) // num_tiles
    start_i = tl.program_id(0) % num_tiles * HELD
    at = split_plane(plane, sizes)
    i, j = tl.arange(0, HELD), tl.arange(0, READ)[None, :]
    queries = read_tile(q, at, start_i, sizes.i, sizes.c, HELD, CHANNELS)
    # Finite, so that a query whose every logit is -inf comes out as zeros and not as NaN.
    largest = tl.full((HELD,), -1e30, tl.float32)
    total = tl.zeros((HELD,), tl.float32)
    mean = tl.zeros((HELD, CHANNELS), tl.float32)
    for start_j in range(0, sizes.j, READ):
        keys = read_tile(k, at, start_j, sizes.j, sizes.c, READ, CHANNELS)
        bias = read_pair_bias(pair_bias, at, start_i, i[:, None], start_j, j, sizes)
        bias += read_key_bias(key_bias, at, start_j, j, sizes.j)
        products = matmul(queries, tl.trans(keys), None, WIDEN)
        logits = attention_logits(products, scale, bias, start_j + j, sizes.j)
        higher = tl.maximum(largest, tl.max(logits, 1))
        shrink = tl.exp2(largest - higher)
        weights = tl.exp2(logits - higher[:, None])
        total = total * shrink + tl.sum(weights, 1)
        values = read_tile(v, at, start_j, sizes.j, sizes.c, READ, CHANNELS)
        mean = matmul(weights.to(values.dtype), values, mean * shrink[:, None], WIDEN)
        largest = higher
    total = tl.where(total == 0.0, 1.0, total)
    write_tile(out, at, start_i, sizes.i, sizes.c, mean / total[:, None], HELD, CHANNELS)
    where = tl.cast(plane, tl.int64) * sizes.i + start_i + i
    tl.store(peak + where, largest, mask=start_i + i < sizes.i)
    tl.store(spread + where, tl.log2(total), mask=start_i + i < sizes.i)


def run_forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    key_bias: Tensor | None,
    pair_bias: Tensor | None,
    out: Tensor,
    statistics: Tensor,
) -> None:
    """Write to `out` and to `statistics`, which the backward pass reads.

    q and `out` are (g, r, h, i, c), k and v (g, r, h, j, c), all with neighbouring channels; the
    biases are (g, r, h, j) and (g, h, i, j), of any strides; `statistics` is (2, g, r, h, i),
    contiguous, in float32.
    """
    sizes = Sizes.of(q, k)
    tile = tiles_by_query(q.dtype, sizes)
    programs = sizes.g * sizes.r * sizes.h * triton.cdiv(sizes.i, tile.held)
    forward_kernel[(programs,)](
        Planes.of(q),
        Planes.of(k),
        Planes.of(v),
        None if key_bias is None else Planes.of(key_bias),
        None if pair_bias is None else Planes.of(pair_bias),
        Planes.of(out),
        statistics[0],
        statistics[1],
        sizes.c**-0.5,
        sizes,
        **tile.launch(),
    )
