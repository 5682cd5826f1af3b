"""A `Walk` that really walks: it evaluates a few rows at a time and joins what comes back."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class Slices:
    """Rows in slices of `size`; counts them, so that a test can tell that it was used."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.count = 0

    def __call__(self, fn, *, rows, shared=(), in_dims, out_dims) -> Any:
        assert isinstance(fn.__self__, nn.Module)
        in_dims = (in_dims,) * len(rows) if isinstance(in_dims, int) else in_dims
        assert all(dim < 0 for dim in in_dims)
        length = {row.shape[dim] for row, dim in zip(rows, in_dims, strict=True)}
        assert len(length) == 1, f"rows of different lengths: {length}"
        pieces = []
        for start in range(0, length.pop(), self.size):
            slices = [
                row.narrow(dim, start, min(self.size, row.shape[dim] - start))
                for row, dim in zip(rows, in_dims, strict=True)
            ]
            pieces.append(fn(*slices, *shared))
        self.count += len(pieces)
        if isinstance(out_dims, int):
            assert out_dims < 0
            return torch.cat(pieces, out_dims)
        return tuple(
            torch.cat(parts, dim)
            for parts, dim in zip(zip(*pieces, strict=True), out_dims, strict=True)
        )
