"""Linear layers with AlphaFold 2's initialisations (Suppl. 1.11.4)."""

from __future__ import annotations

from math import erf, sqrt
from typing import Literal

import torch
from torch import Tensor, nn

__all__ = ["Init", "Linear"]

Init = Literal["lecun", "relu", "glorot", "gating", "normal", "final"]

# A normal distribution cut at two standard deviations keeps this much of its own.
_TRUNCATED_STD = 0.87962566103423978


class Linear(nn.Linear):
    """`nn.Linear` whose weights start as AlphaFold 2's do; biases at 0, a gate's at 1.

    `lecun` keeps the variance, `relu` doubles it (He), `glorot` is uniform by both widths,
    `normal` keeps it too, without the cut, `gating` and `final` are zero: a gate starts open by its
    bias and a residual update starts as nothing.
    """

    def __init__(self, c_in: int, c_out: int, *, bias: bool = True, init: Init = "lecun") -> None:
        self.init: Init = init
        super().__init__(c_in, c_out, bias=bias)

    def reset_parameters(self) -> None:
        """Draw the weights again."""
        with torch.no_grad():
            _fill(self.weight, self.init)
            if self.bias is not None:
                self.bias.fill_(1.0 if self.init == "gating" else 0.0)


def _fill(weight: Tensor, init: Init) -> None:
    c_out, c_in = weight.shape
    if init in ("gating", "final"):
        weight.zero_()
    elif init == "glorot":
        limit = sqrt(6 / (c_in + c_out))
        weight.uniform_(-limit, limit)
    elif init == "normal":
        weight.normal_(std=sqrt(1 / c_in))
    else:
        variance = 2 if init == "relu" else 1
        # torch's trunc_normal_ reads values back, which fake tensors cannot answer.
        cut = erf(sqrt(2))
        std = sqrt(variance / c_in) / _TRUNCATED_STD
        weight.uniform_(-cut, cut).erfinv_().mul_(std * sqrt(2))
