"""What two runs can be compared on where a whole batch does not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

__all__ = ["Smaller", "less_and_less"]

Smaller = Callable[[Any], Any]


def less_and_less(batch: Any, smaller: Sequence[Smaller]) -> Iterator[tuple[str, Iterator[Any]]]:
    """The batch, then what is left of it: what to call it, and its batches.

    What each of `smaller` makes of it, in turn; without any, halves of it, quarters and so on.
    """
    yield "the whole batch", iter([batch])
    if smaller:
        for k, shrink in enumerate(smaller):
            name = getattr(shrink, "__name__", type(shrink).__name__)
            yield f"a smaller batch (number {k + 1}, {name})", (shrink(batch) for _ in range(1))
        return
    length = _leading(batch)
    size = length
    while size > 1:
        size = -(-size // 2)
        starts = range(0, length, size)
        name = f"slices of the batch, {len(starts)} of at most {size} of {length}"
        yield name, (_sliced(batch, start, size) for start in starts)


def _leading(batch: Any) -> int:
    """The leading dimension that every tensor of the batch has; 1 where they have none."""
    lengths = {x.shape[0] if x.ndim else 0 for x in tree_leaves(batch) if isinstance(x, Tensor)}
    return lengths.pop() if len(lengths) == 1 else 1


def _sliced(batch: Any, start: int, size: int) -> Any:
    return tree_map_only(Tensor, lambda x: x[start : start + size], batch)
