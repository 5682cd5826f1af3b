"""Which heads and queries a tile of attention takes.

A tile's logits stay in the cache of a processor between the operations that pass over them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from torch import Tensor

from sci_memeff.kernels.products import one_by_one

__all__ = ["Index", "Shape", "Tiles", "lengths", "tiles_of"]

Index = tuple[slice, ...]
Shape = tuple[int, ...]

# Of one tile's logits. On a processor two such buffers stay in its last cache, and smaller ones
# lose more in calls than they gain (benchmarks/kernels.py); elsewhere it is calls that cost.
_BYTES = {"cpu": 4 << 20}
_BYTES_ELSEWHERE = 64 << 20


@dataclass(frozen=True)
class Tiles:
    """The leading dimensions, how far a tile reaches in each, and how many queries it takes.

    A tile takes all queries of its heads, or some queries of one head.
    """

    lead: Shape
    reach: Shape
    num_queries: int
    query_step: int

    def __iter__(self) -> Iterator[Index]:
        """Indices of the leading dimensions, in order."""
        return product(*map(_cuts, self.lead, self.reach))

    def queries(self) -> list[slice]:
        """Of each of these indices, in order."""
        return _cuts(self.num_queries, self.query_step)

    def shapes(self, num_keys: int) -> list[Shape]:
        """Of the logits of each tile, in order."""
        return [
            (math.prod(lengths(lead)), rows.stop - rows.start, num_keys)
            for lead in self
            for rows in self.queries()
        ]

    @property
    def num_heads(self) -> int:
        """In the largest tile."""
        return math.prod(self.reach)


def tiles_of(q: Tensor, k: Tensor, v: Tensor) -> Tiles:
    """Tiles for q (*, i, c), k (*, j, c) and v (*, j, d)."""
    lead, num_queries, num_keys = tuple(q.shape[:-2]), q.shape[-2], k.shape[-2]
    # operands count too: with few keys they are larger than the logits
    width = max(1, num_keys, q.shape[-1], v.shape[-1])
    head = width * max(1, num_queries, num_keys if width > num_keys else 0)
    budget = _BYTES.get(q.device.type, _BYTES_ELSEWHERE) // q.element_size()
    if head > budget:
        query_step = min(max(1, num_queries), max(1, budget // width))
        return Tiles(lead, (1,) * len(lead), num_queries, query_step)
    room = 1 if one_by_one(q, num_queries, num_keys) else budget // head
    reach: list[int] = []
    for size in reversed(lead):
        reach.insert(0, max(1, min(size, room)))
        room = room // size if reach[0] == size else 1
    return Tiles(lead, tuple(reach), num_queries, max(1, num_queries))


def lengths(index: Index) -> Shape:
    """Of the slices of an index."""
    return tuple(part.stop - part.start for part in index)


def _cuts(size: int, step: int) -> list[slice]:
    return [slice(start, min(start + step, size)) for start in range(0, size, step)]
