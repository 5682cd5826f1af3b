"""The memory that a tile of attention is computed in: views of one buffer."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sci_memeff.kernels.products import one_by_one
from sci_memeff.kernels.tiles import Shape, Tiles, tiles_of

__all__ = ["Workspace", "workspace_size"]

_ALIGNED = 64  # bytes


def workspace_size(q: Tensor, k: Tensor, v: Tensor, *, backward: bool, kept: bool) -> int:
    """Bytes that the buffer of a `Workspace` must have, told as to it."""
    shapes = _shapes(q, k, v, backward=backward, kept=kept)
    return sum(_bytes(*place) for place in shapes.values())


class Workspace:
    """Places of one tile's operands and results, which the next tile overwrites.

    `backward` and `kept` say which of them are there. Some have room for what the products of
    large single-precision matrices allocate themselves, so that the buffer's bytes are at least
    those that a tile takes.
    """

    def __init__(
        self, q: Tensor, k: Tensor, v: Tensor, buffer: Tensor, *, backward: bool, kept: bool
    ) -> None:
        self.tiles: Tiles = tiles_of(q, k, v)
        self._totals: dict[str, Tensor] = {}
        self._places: dict[str, Tensor] = {}
        start = 0
        for name, (shape, dtype) in _shapes(q, k, v, backward=backward, kept=kept).items():
            size = math.prod(shape) * dtype.itemsize
            self._places[name] = buffer[start : start + size].view(dtype).view(shape)
            start += _bytes(shape, dtype)

    def take(self, name: str, heads: int, rows: int) -> Tensor:
        """A place (heads, rows, channels or keys), with anything in it."""
        place = self._places[name]
        return place if place.shape[:2] == (heads, rows) else place[:heads, :rows]

    def load(self, name: str, part: Tensor, *, scale: float | None = None) -> Tensor:
        """`part` (*, rows, channels), times `scale`, as a contiguous (n, rows, channels)."""
        heads, rows, channels = math.prod(part.shape[:-2]), *part.shape[-2:]
        if scale is None and part.is_contiguous():
            return part.view(heads, rows, channels)
        place = self.take(name, heads, rows)
        if scale is None:
            place.view(part.shape).copy_(part)
        else:
            torch.mul(part, scale, out=place.view(part.shape))
        return place

    def add(self, name: str, addend: Tensor, *, first: bool) -> None:
        """Add up, over the tiles that share keys and values, what `write_total` writes."""
        sums = self._places.get(f"sum {name}")
        if sums is None:
            self._totals[name] = addend
        else:
            self._totals[name] = sums.copy_(addend) if first else sums.add_(addend)

    def write_total(self, name: str, out: Tensor) -> None:
        """The sum of what has been added since `first`."""
        out.copy_(self._totals.pop(name).view(out.shape))


def _shapes(
    q: Tensor, k: Tensor, v: Tensor, *, backward: bool, kept: bool
) -> dict[str, tuple[Shape, torch.dtype]]:
    tiles = tiles_of(q, k, v)
    n, i, j, c, d = tiles.num_heads, tiles.query_step, k.shape[-2], q.shape[-1], v.shape[-1]
    shapes: dict[str, Shape] = {"q": (n, i, c), "k": (n, j, c), "v": (n, j, d)}
    shapes["o"] = (n, i, c if backward else d)
    if not kept:
        shapes["p"] = (n, i, j)
    if backward:
        shapes |= {"g": (n, i, d), "s": (n, i, j), "dk": (n, j, c), "dv": (n, j, d)}
    if one_by_one(q, i, j):
        shapes["allocated"] = (1, i, j)
    found = {name: (shape, q.dtype) for name, shape in shapes.items()}
    if backward and len(tiles.queries()) > 1:
        wide = torch.promote_types(q.dtype, torch.float32)
        found |= {f"sum {name}": (shapes[name], wide) for name in ("dk", "dv")}
    return found


def _bytes(shape: Shape, dtype: torch.dtype) -> int:
    return -(-math.prod(shape) * dtype.itemsize // _ALIGNED) * _ALIGNED
