"""FP8 e4m3 with a scale for each group of channels."""

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

__all__ = ["Fp8"]


@dataclass(frozen=True)
class Fp8:
    """E4m3 codes of squares; every `group` channels that are neighbours share a bfloat16 scale.

    1 + 2/64 bytes a number: 0.516 of bfloat16, 0.258 of float32. An element is 1.3 % off, in the
    root mean square, whatever its neighbours are, down to 1/128 of the largest of them. Codes of
    the numbers themselves would be 2.6 % off, and of larger ranges than groups have.

    `rounding` is to the nearest code, or stochastic: right on average, and 1.4 times as far off.
    BadConfigError for a group below 1 or above 1024 channels.
    """

    group: int = 64
    rounding: Rounding = "nearest"

    def __post_init__(self) -> None:
        check_codec(self.group, "fp8", self.rounding)

    def __str__(self) -> str:
        return told("fp8", None if self.group == Fp8.group else self.group, self.rounding)

    def encode(self, tensor: Tensor) -> Encoded:
        """Codes and scales; KeptTensorError for dtypes other than those that `Codec` names."""
        return encode_flat(tensor, self.group, "fp8", self.rounding)

    def decode(self, encoded: Encoded) -> Tensor:
        """As `Codec` says."""
        return decode_flat(encoded, self.group, "fp8")

    def bytes(self, shape: Sequence[int], dtype: torch.dtype) -> int:
        """The same for all dtypes."""
        return coded_bytes(shape, self.group)

    @property
    def error(self) -> float:
        """Half of the largest step, or all of it; rounding scales up makes it 1/128 larger."""
        step = (288**0.5 - 256**0.5) / 448**0.5 * (1 + 2.0**-7)
        return step / 2 if self.rounding == "nearest" else step
