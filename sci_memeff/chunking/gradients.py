"""Gradients that come in slice by slice: written side by side, or added up in that order."""

from __future__ import annotations

import torch
from torch import Tensor

from sci_memeff.chunking.slices import Cut

__all__ = ["Gathered", "RowGradient", "SummedGradient"]


class RowGradient:
    """Of rows: each slice's gradient has a place of its own."""

    def __init__(self, row: Tensor, dim: int, cut: Cut) -> None:
        self._row = row
        self._dim = dim
        self._cut = cut
        self._whole: Tensor | None = None

    def add(self, gradient: Tensor | None, start: int, length: int) -> None:
        """Write it where it belongs."""
        if self._cut.is_whole:
            self._whole = gradient
        elif gradient is not None:
            self._place(start, length).copy_(gradient)
        elif self._whole is not None:
            self._place(start, length).zero_()

    def total(self) -> Tensor | None:
        """All of it, as long as the rows."""
        return self._whole

    def _place(self, start: int, length: int) -> Tensor:
        if self._whole is None:
            # slices that gave nothing may lie behind
            self._whole = (torch.zeros_like if start else torch.empty_like)(self._row)
        return self._whole.narrow(self._dim, start, length)


class SummedGradient:
    """Of a shared operand or a parameter: the sum over slices, of half-precision ones in float32.

    Half precision would round after every addition, and lose small ones altogether.
    """

    def __init__(self, operand: Tensor, cut: Cut) -> None:
        self._operand = operand
        self._cut = cut
        self._sum: Tensor | None = None

    def add(self, gradient: Tensor | None, start: int, length: int) -> None:
        """Add it to those before."""
        if gradient is None:
            return
        if self._cut.is_whole:
            self._sum = gradient
        elif self._sum is None:
            # a copy, since autograd may hand one tensor to several inputs
            dtype = self._operand.dtype
            half = dtype in (torch.bfloat16, torch.float16)
            dtype = torch.float32 if half else dtype
            self._sum = torch.empty_like(self._operand, dtype=dtype).copy_(gradient)
        else:
            self._sum.add_(gradient)

    def total(self) -> Tensor | None:
        """The sum, in the operand's dtype."""
        return None if self._sum is None else self._sum.to(self._operand.dtype)


Gathered = RowGradient | SummedGradient
