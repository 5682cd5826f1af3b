"""Dropout with one mask for a whole row or column (Suppl. 1.11.6)."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 the name everybody knows it by
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["SharedDropout"]


class SharedDropout(nn.Module):
    """Dropout whose mask is shared along `dim`: -3 drops "row-wise", -2 "column-wise"."""

    def __init__(self, p: float, *, dim: int) -> None:
        super().__init__()
        self.p = p
        self.dim = dim

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Drop in training, pass through otherwise."""
        if not self.training or self.p == 0:
            return x
        return x * F.dropout(torch.ones_like(x.narrow(self.dim, 0, 1)), self.p)
