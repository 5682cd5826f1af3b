"""What the Triton kernels share: reading tiles, logits, and how large the tiles are.

Axes: g groups with a pair bias each, r rows that share it, h heads, i queries, j keys, c channels.
A program works for one (g, r, h) plane at a time. Logits are in powers of two (times log₂e): the
hardware's exponential is 2ˣ.

Imports triton, which is optional: imported by what launches a kernel, when it does.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton import knobs

__all__ = [
    "LOG2E",
    "Planes",
    "Sizes",
    "Tiles",
    "attention_logits",
    "matmul",
    "plane_at",
    "read_key_bias",
    "read_pair_bias",
    "read_tile",
    "split_plane",
    "tiles_by_key",
    "tiles_by_pair",
    "tiles_by_query",
    "write_tile",
]

LOG2E = tl.constexpr(1 / math.log(2))


class Planes(NamedTuple):
    """A tensor and its strides, as a kernel takes it; the channels of q, k and v are neighbours."""

    base: Any
    strides: Any

    @classmethod
    def of(cls, tensor: Tensor) -> Any:
        """The tensor with its own strides."""
        return cls(tensor, tensor.stride())


class Sizes(NamedTuple):
    """How long each axis is."""

    g: Any
    r: Any
    h: Any
    i: Any
    j: Any
    c: Any

    @classmethod
    def of(cls, q: Tensor, k: Tensor) -> Any:
        """Those of q (g, r, h, i, c) and k (g, r, h, j, c)."""
        return cls(*q.shape[:4], j=k.shape[3], c=q.shape[4])


@dataclass(frozen=True)
class Tiles:
    """How many queries or keys a program holds, how many it reads a step, and with what.

    One fixed choice for each kernel, width and type, so that results depend on no timing. By
    ptxas none below spills registers on sm_90 up to 64 channels: in bfloat16 with 32 they are 103,
    117, 151 and 128 a thread (forward, query, key, pair; of 65 536 a multiprocessor, for 256
    threads a program). All fit into the 99 KB of shared memory of consumer cards. A larger held
    side reads the other one fewer times; the pair bias is read once for each row anyway.
    """

    held: int
    read: int
    warps: int
    stages: int
    channels: int

    def launch(self) -> dict[str, Any]:
        """The arguments of a kernel that depend on it."""
        return {
            "HELD": self.held,
            "READ": self.read,
            "CHANNELS": self.channels,
            "WIDEN": knobs.runtime.interpret,
            "num_warps": self.warps,
            "num_stages": self.stages,
        }


def tiles_by_query(dtype: torch.dtype, sizes: Sizes) -> Tiles:
    """For a program that holds queries and reads keys."""
    channels = _channels(sizes)
    if dtype == torch.float32:
        return _fit(_float32(channels), sizes.i, sizes.j)
    choice = (128, 32, 8, 3) if channels <= 64 else (64, 32, 4, 2)
    return _fit(Tiles(*choice, channels), sizes.i, sizes.j)


def tiles_by_key(dtype: torch.dtype, sizes: Sizes) -> Tiles:
    """For a program that holds keys and reads queries, with two sums and so more registers."""
    channels = _channels(sizes)
    if dtype == torch.float32:
        return _fit(_float32(channels), sizes.j, sizes.i)
    choice = (64, 32, 8, 3) if channels <= 64 else (64, 32, 8, 2)
    return _fit(Tiles(*choice, channels), sizes.j, sizes.i)


def tiles_by_pair(dtype: torch.dtype, sizes: Sizes) -> Tiles:
    """For a program that holds queries × keys and reads rows."""
    channels = _channels(sizes)
    if dtype == torch.float32:
        return _fit(_float32(channels), sizes.i, sizes.j)
    choice = {16: (64, 64, 8, 3), 32: (64, 64, 8, 3), 64: (64, 64, 8, 2), 128: (64, 32, 4, 1)}
    return _fit(Tiles(*choice[channels], channels), sizes.i, sizes.j)


def _channels(sizes: Sizes) -> int:
    return max(16, _power_of_two(sizes.c))


def _power_of_two(size: int) -> int:
    return 1 << (size - 1).bit_length()


def _float32(channels: int) -> Tiles:
    # Products of float32 without TF32 run on the ordinary units, with their operands in registers.
    choice = (32, 32, 4, 2) if channels <= 64 else (32, 32, 8, 2)
    return Tiles(*choice, channels)


def _fit(tiles: Tiles, num_held: int, num_read: int) -> Tiles:
    """Smaller tiles, and fewer warps, for axes that are shorter than a tile."""
    held = min(tiles.held, max(16, _power_of_two(num_held)))
    read = min(tiles.read, max(16, _power_of_two(num_read)))
    warps = min(tiles.warps, max(1, held * read // 128))
    return replace(tiles, held=held, read=read, warps=warps)


@triton.jit
def split_plane(plane, sizes):
    """g, r and h of a plane's number, wide enough for the offsets in large tensors."""
    r = plane // sizes.h % sizes.r
    g = plane // (sizes.h * sizes.r)
    return tl.cast(g, tl.int64), tl.cast(r, tl.int64), tl.cast(plane % sizes.h, tl.int64)


@triton.jit
def plane_at(x, at):
    """Where the plane `at` of x begins."""
    return x.base + at[0] * x.strides[0] + at[1] * x.strides[1] + at[2] * x.strides[2]


@triton.jit
def tile_at(x, at, start, COUNT: tl.constexpr, CHANNELS: tl.constexpr):
    """Where (COUNT, CHANNELS) of a plane of x lie. Offsets in a tile are short, to be narrow."""
    base = plane_at(x, at) + tl.cast(start, tl.int64) * x.strides[3]
    return base + (tl.arange(0, COUNT) * x.strides[3])[:, None] + tl.arange(0, CHANNELS)[None, :]


@triton.jit
def tile_inside(start, size, num_channels, COUNT: tl.constexpr, CHANNELS: tl.constexpr):
    """Which of it is within the plane."""
    inside = start + tl.arange(0, COUNT) < size
    return inside[:, None] & (tl.arange(0, CHANNELS) < num_channels)[None, :]


@triton.jit
def read_tile(x, at, start, size, num_channels, COUNT: tl.constexpr, CHANNELS: tl.constexpr):
    """(COUNT, CHANNELS) of a plane of x; zeros beyond its ends."""
    where = tile_at(x, at, start, COUNT, CHANNELS)
    inside = tile_inside(start, size, num_channels, COUNT, CHANNELS)
    return tl.load(where, mask=inside, other=0.0)


@triton.jit
def write_tile(
    x, at, start, size, num_channels, values, COUNT: tl.constexpr, CHANNELS: tl.constexpr
):
    """`read_tile`, the other way."""
    where = tile_at(x, at, start, COUNT, CHANNELS)
    inside = tile_inside(start, size, num_channels, COUNT, CHANNELS)
    tl.store(where, values.to(x.base.dtype.element_ty), mask=inside)


@triton.jit
def matmul(a, b, total, WIDEN: tl.constexpr):
    """total + a·b in float32. WIDEN under the interpreter, whose bfloat16 products are wrong."""
    if WIDEN:
        a = a.to(tl.float32)
        b = b.to(tl.float32)
    return tl.dot(a, b, total, input_precision="ieee")


@triton.jit
def read_key_bias(key_bias, at, start, offset, num_j):
    """The key bias (g, r, h, j) from `start` on, in `offset`'s shape, or 0 without one."""
    bias = 0.0
    if key_bias is not None:
        where = plane_at(key_bias, at) + tl.cast(start, tl.int64) * key_bias.strides[3]
        where += offset * key_bias.strides[3]
        bias = tl.load(where, mask=start + offset < num_j, other=0.0).to(tl.float32) * LOG2E
    return bias


@triton.jit
def read_pair_bias(pair_bias, at, start_i, offset_i, start_j, offset_j, sizes):
    """The pair bias (g, h, i, j), likewise; the offsets broadcast to a tile."""
    bias = 0.0
    if pair_bias is not None:
        strides = pair_bias.strides
        base = pair_bias.base + at[0] * strides[0] + at[2] * strides[1]
        base += tl.cast(start_i, tl.int64) * strides[2] + tl.cast(start_j, tl.int64) * strides[3]
        inside = (start_i + offset_i < sizes.i) & (start_j + offset_j < sizes.j)
        where = base + (offset_i * strides[2] + offset_j * strides[3])
        bias = tl.load(where, mask=inside, other=0.0).to(tl.float32) * LOG2E
    return bias


@triton.jit
def attention_logits(products, scale, bias, j, num_j):
    """log₂e·products·scale + bias, and -∞ beyond the last key."""
    return tl.where(j < num_j, products * (scale * LOG2E) + bias, float("-inf"))
