"""Whole numbers of 8 bits with a scale for each row or head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sci_memeff._types import Encoded
from sci_memeff.kernels.codes import Rounding
from sci_memeff.precision.codecs.flat import (
    check_codec,
    coded_bytes,
    decode_flat,
    encode_flat,
    told,
)

__all__ = ["Int8"]


@dataclass(frozen=True)
class Int8:
    """-127 to 127 times a bfloat16 scale for each row of channels, or every `group` of a row's.

    Give the channels of a head as `group` for a scale a head. A row of 256 channels comes to
    0.504 of bfloat16, groups of 32 to 0.531. All elements of a row are off by as much, 1/254 of
    its largest at most: less than `Fp8`'s where a row's elements are of a size, and more where few
    are much larger than the others. Rows of more than 1024 channels are cut.

    `rounding` is to the nearest code, or stochastic: right on average, and 1.4 times as far off.
    BadConfigError for a group below 1 or above 1024 channels.
    """

    group: int | None = None
    rounding: Rounding = "nearest"

    def __post_init__(self) -> None:
        check_codec(self.group, "int8", self.rounding)

    def __str__(self) -> str:
        return told("int8", self.group, self.rounding)

    def encode(self, tensor: Tensor) -> Encoded:
        """Codes and scales; KeptTensorError for dtypes other than those that `Codec` names."""
        return encode_flat(tensor, self.group, "int8", self.rounding)

    def decode(self, encoded: Encoded) -> Tensor:
        """As `Codec` says."""
        return decode_flat(encoded, self.group, "int8")

    def bytes(self, shape: Sequence[int], dtype: torch.dtype) -> int:
        """The same for all dtypes."""
        return coded_bytes(shape, self.group)

    @property
    def error(self) -> float:
        """Half a step, or a whole one; rounding scales up makes it 1/128 larger."""
        step = (1 + 2.0**-7) / 127
        return step / 2 if self.rounding == "nearest" else step
