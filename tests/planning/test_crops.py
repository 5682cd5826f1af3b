"""Which crops are tried, and which one is found, where what each needs is known."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sci_memeff.planning import crops
from sci_memeff.planning.crops import largest_crop
from sci_memeff.planning.search import Search


def check(what: str, done: int, total: int) -> None:
    assert 0 <= done <= total


class Known(Search):
    """What each crop needs."""

    def __init__(self, needs: Callable[[int], int], crop: int = 0) -> None:
        self.needs, self.crop, self.progress = needs, crop, check

    def least_within(self, limit: int) -> int:
        return self.needs(self.crop)


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    crops_tried: list[int] = []

    def search_at(search: Known, crop: int) -> Known:
        crops_tried.append(crop)
        return Known(search.needs, crop)

    monkeypatch.setattr(crops, "search_at", search_at)
    return crops_tried


def largest(needs: Callable[[int], int], limit: int, **settings: int) -> int | None:
    return largest_crop(Known(needs), lambda crop: crop, limit, **settings)


@pytest.mark.parametrize(
    "needs",
    [
        lambda n: 1000 + 3 * n,
        lambda n: 1_000_000 + 40 * n**2,
        lambda n: 10 * n**3,
        lambda n: 50 if n < 333 else 10**9,
        lambda n: 7,
    ],
)
@pytest.mark.parametrize("granularity", [1, 8, 48])
def test_the_largest_that_fits(
    tried: list[int], needs: Callable[[int], int], granularity: int
) -> None:
    for limit in (10, 2000, 1_500_000, 10**8):
        fitting = [crop for crop in range(granularity, 1025, granularity) if needs(crop) <= limit]
        found = largest(needs, limit, largest=1024, granularity=granularity)
        assert found == (max(fitting) if fitting else None)
    assert max(tried) <= 1024


def test_few_are_tried(tried: list[int]) -> None:
    assert largest(lambda n: 2_000_000 + 90 * n * n, 90_000_000) == 984
    assert len(tried) <= 13
    assert len(set(tried)) == len(tried)
