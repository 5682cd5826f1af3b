"""Any tensor as a flat one, in the order of its memory, with the rows that its groups are in."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from sci_memeff._types import CODED_DTYPES, Encoded
from sci_memeff.errors import BadConfigError, KeptTensorError
from sci_memeff.kernels.codes import (
    CodeFormat,
    Groups,
    Rounding,
    check_format,
    decode_groups,
    encode_groups,
)

__all__ = ["WIDEST", "check_codec", "coded_bytes", "decode_flat", "encode_flat", "told"]

WIDEST = 1024  # numbers of a group: a kernel has all of it in registers


def check_codec(group: int | None, form: CodeFormat, rounding: str) -> None:
    """BadConfigError for a group of no size or too large a one, and for an unknown rounding."""
    check_format(form, rounding)
    if group is not None and not 0 < group <= WIDEST:
        raise BadConfigError(
            f"a scale cannot be that of {group} numbers",
            mend=f"give a group of 1 to {WIDEST} channels",
        )


def told(name: str, group: int | None, rounding: Rounding) -> str:
    """A codec in words; no `group` where it is the usual one."""
    words = name if group is None else f"{name} in groups of {group}"
    return words if rounding == "nearest" else f"{words}, rounded stochastically"


def encode_flat(tensor: Tensor, group: int | None, form: CodeFormat, rounding: Rounding) -> Encoded:
    """Codes and scales of a tensor; of one with gaps or overlaps, those of a contiguous copy.

    KeptTensorError for other dtypes than float32, bfloat16 and float16.
    """
    if tensor.dtype not in CODED_DTYPES:
        raise KeptTensorError(
            f"a tensor of {tensor.dtype} cannot be kept in 8 bits",
            mend="keep it as it is: codes are for float32, bfloat16 and float16",
        )
    tensor = tensor.detach().resolve_neg()
    if not _is_dense(tensor.shape, tensor.stride()):
        tensor = tensor.contiguous()
    shape, stride = tuple(tensor.shape), tensor.stride()
    flat = tensor.as_strided((tensor.numel(),), (1,), tensor.storage_offset())
    groups = _groups(shape, stride, group)
    return Encoded(encode_groups(flat, groups, form, rounding), shape, stride, tensor.dtype)


def decode_flat(encoded: Encoded, group: int | None, form: CodeFormat) -> Tensor:
    """The tensor."""
    codes, scales = encoded.parts
    groups = _groups(encoded.shape, encoded.stride, group)
    flat = decode_groups(codes, scales, groups, form, encoded.dtype)
    return flat.as_strided(encoded.shape, encoded.stride)


def coded_bytes(shape: Sequence[int], group: int | None) -> int:
    """Of a contiguous tensor."""
    row = next((n for n in reversed(shape) if n > 1), 1)
    numel = math.prod(shape)
    return numel + _cut(row, group).count(numel) * torch.bfloat16.itemsize


def _is_dense(shape: Sequence[int], stride: Sequence[int]) -> bool:
    """Whether there are neither gaps nor overlaps, in whichever order the dimensions lie."""
    size = 1
    for step, n in sorted((step, n) for n, step in zip(shape, stride, strict=True) if n != 1):
        if step != size:
            return False
        size *= n
    return True


def _groups(shape: Sequence[int], stride: Sequence[int], group: int | None) -> Groups:
    """Along the dimension whose elements are neighbours: the channels, of a contiguous tensor."""
    rows = [n for n, step in zip(shape, stride, strict=True) if step == 1 and n > 1]
    return _cut(rows[-1] if rows else 1, group)


def _cut(row: int, group: int | None) -> Groups:
    return Groups(row, min(group or WIDEST, row))
