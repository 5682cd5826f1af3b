"""A `Walk` that really walks: it evaluates a few rows at a time and joins what comes back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Slices:
    """A walk that takes `size` rows at a time, and counts the slices."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.count = 0

    def __call__(
        self,
        fn: Callable[..., Any],
        *,
        rows: Sequence[Tensor],
        shared: Sequence[Tensor] = (),
        in_dims: int | Sequence[int],
        out_dims: int | Sequence[int],
    ) -> Any:
        assert isinstance(fn.__self__, nn.Module)  # a method, so that policy finds the parameters
        dims = [in_dims] * len(rows) if isinstance(in_dims, int) else list(in_dims)
        assert len(dims) == len(rows)
        assert all(dim < 0 for dim in dims)
        (length,) = {row.shape[dim] for row, dim in zip(rows, dims, strict=True)}
        pieces = []
        for start in range(0, length, self.size):
            step = min(self.size, length - start)
            slices = [row.narrow(dim, start, step) for row, dim in zip(rows, dims, strict=True)]
            pieces.append(fn(*slices, *shared))
            self.count += 1
        if isinstance(pieces[0], Tensor):
            assert isinstance(out_dims, int)
            return self._join(pieces, out_dims, length)
        joins = [out_dims] * len(pieces[0]) if isinstance(out_dims, int) else out_dims
        parts = zip(zip(*pieces, strict=True), joins, strict=True)
        return tuple(self._join(part, dim, length) for part, dim in parts)

    def _join(self, pieces: Sequence[Tensor], dim: int, length: int) -> Tensor:
        assert dim < 0
        joined = torch.cat(list(pieces), dim=dim)
        assert joined.shape[dim] == length
        return joined
