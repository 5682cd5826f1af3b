"""The largest crop whose leanest plan keeps a budget."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from sci_memeff.planning.opening import search_at
from sci_memeff.planning.search import Search

__all__ = ["largest_crop"]


def largest_crop(
    search: Search,
    batch_at: Callable[[int], Any],
    limit: int,
    *,
    largest: int = 4096,
    granularity: int = 8,
) -> int | None:
    """Among the multiples of `granularity`; None where even the first needs too many bytes.

    `search` is of the same step for any batch. Crops are tried one after the other, each where a
    power law through the last that fits and the first that does not says that the limit is.
    """
    total = max(largest // granularity, 1)

    def needs(count: int) -> int:
        search.progress("trying crops", count, total)
        lean = search_at(search, batch_at(count * granularity))
        return lean.least_within(limit)

    if (low_needs := needs(1)) > limit:
        return None
    low = high = 1
    while low == high < total:
        high = min(2 * low, total)
        if (high_needs := needs(high)) <= limit:
            low, low_needs = high, high_needs
    while high - low > 1:
        middle = _between((low, low_needs), (high, high_needs), limit)
        if (found := needs(middle)) <= limit:
            low, low_needs = middle, found
        else:
            high, high_needs = middle, found
    search.progress("trying crops", total, total)
    return low * granularity


def _between(low: tuple[int, int], high: tuple[int, int], limit: int) -> int:
    """The largest count that should fit, and one that lies between the two in any case."""
    (few, low_needs), (many, high_needs) = low, high
    power = math.log(high_needs / low_needs) / math.log(many / few)
    guess = few * (limit / low_needs) ** (1 / power) if power > 0 else (few + many) / 2
    return min(max(round(guess), few + 1), many - 1)
