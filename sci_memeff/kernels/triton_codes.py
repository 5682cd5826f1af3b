"""Eight-bit codes with a scale for each group, as Triton kernels. Imports triton, an extra.

A program encodes or decodes some groups of neighbours; see `codes` for the formats. Everything is
done on the bits of float32, so that no instruction for eight-bit floats is needed: cards before
Ada and Hopper have none.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from sci_memeff.kernels.codes import LARGEST, Groups

__all__ = ["decode_kernel", "encode_kernel", "run_decode", "run_encode"]

NUMBERS = 4096  # of one program


@triton.jit
def columns_of(group, per_row, size, WIDTH: tl.constexpr):
    """Which of its row's numbers a group (b) has: (b, WIDTH), of which the first `size` count."""
    return (group % per_row)[:, None] * size + tl.arange(0, WIDTH)[None, :]


@triton.jit
def are_there(group, column, row, size, count, WIDTH: tl.constexpr):
    """Which of them there are."""
    return (group < count)[:, None] & (tl.arange(0, WIDTH) < size)[None, :] & (column < row)


@triton.jit
def mixed(bits):
    """A hash of 32 bits (Wellons' lowbias32), of uint32."""
    bits ^= bits >> 16
    bits *= 0x7FEB352D
    bits ^= bits >> 15
    bits *= 0x846CA68B
    return bits ^ (bits >> 16)


@triton.jit
def noise(bits, group, WIDTH: tl.constexpr):
    """A number in [0, 1) for each element, from all bits of its group."""
    total = tl.sum(bits, 1).to(tl.uint32, bitcast=True)
    key = mixed(total ^ mixed(group.to(tl.uint32)))
    place = tl.arange(0, WIDTH).to(tl.uint32)
    drawn = mixed(key[:, None] + place[None, :]) >> 16
    return drawn.to(tl.int32).to(tl.float32) * 0.0000152587890625


@triton.jit
def e4m3_of_squares(x, drawn):
    """Of x ≥ 0; between two codes by where x itself is, not its square."""
    square = tl.minimum(x * x, 448.0)
    binade = tl.maximum(square.to(tl.int32, bitcast=True) >> 23, 121)
    steps = square * ((257 - binade) << 23).to(tl.float32, bitcast=True)
    whole = tl.floor(steps)
    root = tl.sqrt_rn(whole)
    share = (tl.sqrt_rn(steps) - root) * (root + tl.sqrt_rn(whole + 1))
    more = (share + drawn >= 1).to(tl.int32)
    return ((binade - 121) << 3) + whole.to(tl.int32) + more


@triton.jit
def encode_kernel(
    numbers,
    codes,
    scales,
    row,
    per_row,
    size,
    count,
    per_largest,
    FP8: tl.constexpr,
    STOCHASTIC: tl.constexpr,
    BLOCK: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Writes codes, and the upper halves of scales."""
    group = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    column = columns_of(group, per_row, size, WIDTH)
    there = are_there(group, column, row, size, count, WIDTH)
    at = (group // per_row)[:, None] * row + column
    bits = tl.load(numbers + at, mask=there, other=0.0).to(tl.float32).to(tl.int32, bitcast=True)
    drawn = noise(bits, group, WIDTH) if STOCHASTIC else 0.5
    x = bits & 0x7FFFFFFF
    finite = x < 0x7F800000
    x = tl.where(finite, x, 0).to(tl.float32, bitcast=True)
    scale = tl.maximum(tl.max(x, 1) * per_largest, 2.0**-100)
    scale = (scale.to(tl.int32, bitcast=True) + 0xFFFF) >> 16
    x = tl.div_rn(x, (scale << 16).to(tl.float32, bitcast=True)[:, None])
    if FP8:
        code = e4m3_of_squares(x, drawn) | ((bits >> 24) & 0x80)
        tl.store(codes + at, tl.where(finite, code, 0x7F).to(tl.uint8), mask=there)
    else:
        steps = tl.minimum((x + drawn).to(tl.int32), 127)
        steps = tl.where(bits < 0, -steps, steps)
        tl.store(codes + at, tl.where(finite, steps, -128).to(tl.int8), mask=there)
    tl.store(scales + group, scale.to(tl.int16), mask=group < count)


@triton.jit
def decode_kernel(
    codes,
    scales,
    out,
    row,
    per_row,
    size,
    count,
    most,
    FP8: tl.constexpr,
    BLOCK: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Writes what the codes stand for, up to `most`."""
    group = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    column = columns_of(group, per_row, size, WIDTH)
    there = are_there(group, column, row, size, count, WIDTH)
    at = (group // per_row)[:, None] * row + column
    code = tl.load(codes + at, mask=there, other=0).to(tl.int32)
    scale = tl.load(scales + group, mask=group < count, other=0).to(tl.int32) << 16
    scale = scale.to(tl.float32, bitcast=True)[:, None]
    if FP8:
        binade = (code >> 3) & 15
        steps = ((code & 7) + tl.where(binade > 0, 8, 0)).to(tl.float32)
        unit = (tl.maximum(binade, 1) + 117) << 23  # 2⁻⁹ below 2⁻⁶
        x = tl.sqrt_rn(steps * unit.to(tl.float32, bitcast=True))
        sign = (code & 0x80) << 24  # 0 - x would lose a zero's
        x = (x.to(tl.int32, bitcast=True) | sign).to(tl.float32, bitcast=True) * scale
        is_number = (code & 0x7F) != 0x7F
    else:
        x = code.to(tl.float32) * scale
        is_number = code != -128
    x = tl.minimum(tl.maximum(x, -most), most)
    if out.dtype.element_ty == tl.bfloat16:  # to the nearest: the interpreter would cut off
        bits = x.to(tl.int32, bitcast=True)
        x = ((bits + 0x7FFF + ((bits >> 16) & 1)) & -0x10000).to(tl.float32, bitcast=True)
    x = tl.where(is_number, x, float("nan"))
    tl.store(out + at, x.to(out.dtype.element_ty), mask=there)


def run_encode(
    numbers: Tensor, codes: Tensor, scales: Tensor, groups: Groups, *, stochastic: bool
) -> None:
    """Fill `codes` (n) and `scales` (g) for `numbers` (n), all contiguous."""
    form = "fp8" if codes.dtype == torch.uint8 else "int8"
    if numbers.numel():
        with torch.cuda.device_of(numbers):
            encode_kernel[_grid(numbers, groups)](
                numbers,
                codes,
                scales.view(torch.int16),
                per_largest=1 / LARGEST[form],
                **_sizes(numbers, groups, FP8=form == "fp8", STOCHASTIC=stochastic),
            )


def run_decode(codes: Tensor, scales: Tensor, out: Tensor, groups: Groups) -> None:
    """Fill `out` (n) from `codes` (n) and `scales` (g), all contiguous."""
    if codes.numel():
        with torch.cuda.device_of(codes):
            decode_kernel[_grid(codes, groups)](
                codes,
                scales.view(torch.int16),
                out,
                most=torch.finfo(out.dtype).max,
                **_sizes(codes, groups, FP8=codes.dtype == torch.uint8),
            )


def _grid(flat: Tensor, groups: Groups) -> tuple[int]:
    return (-(-groups.count(flat.numel()) // _block(groups)),)


def _block(groups: Groups) -> int:
    return max(1, NUMBERS // _width(groups))


def _width(groups: Groups) -> int:
    """A kernel's tiles are powers of two wide."""
    return 1 << (groups.size - 1).bit_length()


def _sizes(flat: Tensor, groups: Groups, **constants: bool) -> dict[str, Any]:
    """What the kernels are told of the groups, and what they are compiled for."""
    return {
        **constants,
        "row": groups.row,
        "per_row": groups.per_row,
        "size": groups.size,
        "count": groups.count(flat.numel()),
        "BLOCK": _block(groups),
        "WIDTH": _width(groups),
        "enable_fp_fusion": False,  # products and sums are rounded one by one, as on a CPU
    }
