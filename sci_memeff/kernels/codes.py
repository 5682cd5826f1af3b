"""Eight-bit codes of numbers, with a scale for each group of neighbours.

Two operations for torch, `sci_memeff::encode_groups` and `sci_memeff::decode_groups`: one Triton
kernel each on a CUDA device where triton is, plain torch elsewhere, and the same bits from both.
Fake tensors show what they leave, to the byte.

Rows of numbers that are neighbours in memory are cut into groups, the last of a row possibly
shorter. Each group has a bfloat16 scale, its largest number over the largest code, rounded up.

    fp8   e4m3 codes of squares: of numbers themselves they would keep 4 bits each and a range of
          2¹⁴, which no group needs; so they keep 5 bits, and a range of 2⁷
    int8  whole numbers from -127 to 127

Infinities and NaNs have a code of their own, which is decoded as NaN, and count for no scale.
Numbers of groups whose largest is below 1e-27 may become zero.

Sources: Micikevicius et al., FP8 formats for deep learning (2022), for the bits of e4m3; Xi et
al., COAT (2024), for powers that fill its range.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Float, Integer, Shaped
from torch import Tensor
from torch.nn.functional import pad

from sci_memeff.errors import BadConfigError

__all__ = [
    "CodeFormat",
    "Groups",
    "Rounding",
    "check_format",
    "decode_groups",
    "encode_groups",
]

CodeFormat = Literal["fp8", "int8"]
Rounding = Literal["nearest", "stochastic"]
CODES: dict[str, torch.dtype] = {"fp8": torch.uint8, "int8": torch.int8}
LARGEST = {"fp8": 448**0.5, "int8": 127.0}
LEAST = 2.0**-100  # of scales: no product of a code and a scale is subnormal
AT_A_TIME = 1 << 17  # numbers: what plain torch makes on the way takes 4 MiB


class Groups(NamedTuple):
    """How numbers lie: rows of `row`, cut into groups of `size`."""

    row: int
    size: int

    @property
    def per_row(self) -> int:
        """Groups of one row."""
        return -(-self.row // self.size)

    def count(self, numel: int) -> int:
        """Groups of so many numbers."""
        return numel // self.row * self.per_row


def encode_groups(
    numbers: Float[Tensor, " n"], groups: Groups, form: CodeFormat, rounding: Rounding = "nearest"
) -> tuple[Integer[Tensor, " n"], Shaped[Tensor, " g"]]:
    """Codes, one byte each, and the groups' scales.

    Stochastic rounding draws from no generator: its numbers are a hash of all of the group's bits
    and of each element's place, so the same tensor always has the same codes. BadConfigError for
    an unknown format or rounding.
    """
    check_format(form, rounding)
    return torch.ops.sci_memeff.encode_groups(
        numbers, groups.row, groups.size, form, rounding == "stochastic"
    )


def decode_groups(
    codes: Integer[Tensor, " n"],
    scales: Shaped[Tensor, " g"],
    groups: Groups,
    form: CodeFormat,
    dtype: torch.dtype,
) -> Float[Tensor, " n"]:
    """The numbers that codes stand for."""
    return torch.ops.sci_memeff.decode_groups(codes, scales, groups.row, groups.size, form, dtype)


def check_format(form: str, rounding: str) -> None:
    """BadConfigError for what nobody knows."""
    for name, given, known in (("format", form, CodeFormat), ("rounding", rounding, Rounding)):
        if given not in get_args(known):
            raise BadConfigError(
                f"{given!r} is no {name} of codes",
                mend=f"give one of {', '.join(map(repr, get_args(known)))}",
            )


@torch.library.custom_op(
    "sci_memeff::encode_groups",
    mutates_args=(),
    schema="(Tensor numbers, int row, int size, str form, bool stochastic) -> (Tensor, Tensor)",
)
def _encode(
    numbers: Tensor, row: int, size: int, form: str, stochastic: bool
) -> tuple[Tensor, Tensor]:
    codes, scales = _encode_like(numbers, row, size, form, stochastic)
    groups = Groups(row, size)
    if _is_fused(numbers):
        from sci_memeff.kernels.triton_codes import run_encode

        run_encode(numbers, codes, scales, groups, stochastic=stochastic)
        return codes, scales
    for place in _blocks(numbers.numel(), groups):
        x = _in_groups(place.of(numbers).float(), size)
        found, scale = _encoded(x, form, place.numbers(groups) if stochastic else None)
        place.of(codes).copy_(found.flatten(1)[:, : place.columns])
        place.of_groups(scales, groups).copy_(scale.flatten(1))
    return codes, scales


@_encode.register_fake
def _encode_like(
    numbers: Tensor, row: int, size: int, form: str, stochastic: bool
) -> tuple[Tensor, Tensor]:
    count = Groups(row, size).count(numbers.numel())
    codes = numbers.new_empty(numbers.numel(), dtype=CODES[form])
    return codes, numbers.new_empty(count, dtype=torch.bfloat16)


@torch.library.custom_op(
    "sci_memeff::decode_groups",
    mutates_args=(),
    schema="(Tensor codes, Tensor scales, int row, int size, str form, ScalarType dtype) -> Tensor",
)
def _decode(
    codes: Tensor, scales: Tensor, row: int, size: int, form: str, dtype: torch.dtype
) -> Tensor:
    out = _decode_like(codes, scales, row, size, form, dtype)
    groups = Groups(row, size)
    if _is_fused(codes):
        from sci_memeff.kernels.triton_codes import run_decode

        run_decode(codes, scales, out, groups)
        return out
    for place in _blocks(codes.numel(), groups):
        found = _in_groups(place.of(codes), size)
        x = _decoded(found, place.of_groups(scales, groups).float().unsqueeze(-1), form)
        most = torch.finfo(dtype).max  # a scale that was rounded up may lead beyond
        x.clamp_(-most, most)
        place.of(out).copy_(x.flatten(1)[:, : place.columns])
    return out


@_decode.register_fake
def _decode_like(
    codes: Tensor, scales: Tensor, row: int, size: int, form: str, dtype: torch.dtype
) -> Tensor:
    return codes.new_empty(codes.numel(), dtype=dtype)


def _is_fused(tensor: Tensor) -> bool:
    return tensor.is_cuda and find_spec("triton") is not None


class _Block(NamedTuple):
    """Some rows, or whole groups of one."""

    row: int
    rows: int
    column: int
    columns: int
    length: int

    def of(self, flat: Tensor) -> Tensor:
        """(rows, columns) of a tensor of all numbers."""
        rows = flat.view(-1, self.length)[self.row : self.row + self.rows]
        return rows[:, self.column : self.column + self.columns]

    def of_groups(self, flat: Tensor, groups: Groups) -> Tensor:
        """(rows, groups) of a tensor of all groups' scales."""
        first, last = (-(-c // groups.size) for c in (self.column, self.column + self.columns))
        return flat.view(-1, groups.per_row)[self.row : self.row + self.rows, first:last]

    def numbers(self, groups: Groups) -> Tensor:
        """The number of each group (rows, groups) among all of them, in 32 bits."""
        rows = torch.arange(self.row, self.row + self.rows)[:, None] * groups.per_row
        count = -(-self.columns // groups.size)
        return _wrapped(rows + torch.arange(count) + self.column // groups.size)


def _blocks(numel: int, groups: Groups) -> Iterator[_Block]:
    """All of it, so much at a time that what is made on the way stays small."""
    if not numel:
        return
    rows = numel // groups.row
    at_once = max(1, AT_A_TIME // groups.row)
    columns = max(1, AT_A_TIME // groups.size) * groups.size
    for row in range(0, rows, at_once):
        for column in range(0, groups.row, columns):
            width = min(columns, groups.row - column)
            yield _Block(row, min(at_once, rows - row), column, width, groups.row)


def _in_groups(x: Tensor, size: int) -> Tensor:
    """(rows, groups, size) of (rows, columns), zeros behind what is there."""
    short = -x.shape[-1] % size
    if short:  # of fp8's codes, too, 0 stands for zero
        x = pad(x, (0, short))
    return x.reshape(x.shape[0], -1, size)


# What follows does what the kernels do, bit by bit.


def _encoded(x: Tensor, form: str, groups: Tensor | None) -> tuple[Tensor, Tensor]:
    """Codes of x (rows, groups, size) and scales (rows, groups, 1); of `groups`, stochastic."""
    bits = x.view(torch.int32)
    noise = 0.5 if groups is None else _noise(bits, groups)
    infinite = (bits & 0x7FFFFFFF) >= 0x7F800000
    x = x.masked_fill(infinite, 0)
    scales = _scales(x, form)
    x.abs_().div_(scales)
    if form == "int8":
        steps = (x + noise).floor_().clamp_(max=127)
        steps = torch.where(bits < 0, -steps, steps).masked_fill_(infinite, -128)
        return steps.to(torch.int8), scales.bfloat16()
    codes = _e4m3_of_squares(x, noise) | (bits >> 24) & 0x80
    return codes.masked_fill_(infinite, 0x7F).to(torch.uint8), scales.bfloat16()


def _scales(x: Tensor, form: str) -> Tensor:
    """Of each group (rows, groups, 1), rounded up to what bfloat16 holds."""
    scales = x.abs().amax(-1, keepdim=True).mul_(1 / LARGEST[form]).clamp_(min=LEAST)
    return ((scales.view(torch.int32) + 0xFFFF) & -0x10000).view(torch.float32)


def _e4m3_of_squares(x: Tensor, noise: Tensor | float) -> Tensor:
    """Of x ≥ 0; between two codes by where x itself is, not its square."""
    square = x.square_().clamp_(max=448)
    binade = (square.view(torch.int32) >> 23).clamp_(min=121)  # below 2⁻⁶ steps do not get smaller
    steps = square.mul_(_power(130 - binade))  # from 8 to 16, or less there
    whole = steps.floor()
    root = whole.sqrt()
    share = steps.sqrt_().sub_(root).mul_(root + (whole + 1).sqrt_())
    whole += share.add_(noise) >= 1
    return ((binade - 121) << 3) + whole.to(torch.int32)


def _power(exponent: Tensor) -> Tensor:
    """2 to the exponent, exactly."""
    return ((exponent + 127) << 23).view(torch.float32)


def _decoded(codes: Tensor, scales: Tensor, form: str) -> Tensor:
    if form == "int8":
        return (codes.float() * scales).masked_fill_(codes == -128, torch.nan)
    root = (codes & 0x7F).view(torch.float8_e4m3fn).float().sqrt_()
    return torch.where(codes < 0x80, root, -root) * scales


def _noise(bits: Tensor, group: Tensor) -> Tensor:
    """A number in [0, 1) for each element of (rows, groups, size), from all bits of its group.

    A multiple of 2⁻¹⁶, so that adding it to a code's steps rounds nothing away that matters.
    """
    key = _mixed(_wrapped(bits.sum(-1)) ^ _mixed(group.to(bits.device)))
    place = torch.arange(bits.shape[-1], dtype=torch.int32, device=bits.device)
    return ((_mixed(key.unsqueeze(-1) + place) >> 16) & 0xFFFF).float() * 2.0**-16


def _mixed(bits: Tensor) -> Tensor:
    """A hash of 32 bits (Wellons' lowbias32), in int32, whose products wrap around."""
    bits = bits ^ ((bits >> 16) & 0xFFFF)
    bits = bits * 0x7FEB352D
    bits = bits ^ ((bits >> 15) & 0x1FFFF)
    bits = bits * (0x846CA68B - (1 << 32))
    return bits ^ ((bits >> 16) & 0xFFFF)


def _wrapped(number: Tensor) -> Tensor:
    """The low 32 bits of int64."""
    return ((number + (1 << 31)) % (1 << 32) - (1 << 31)).to(torch.int32)
