"""The stream of samples: in order, from any start, and no bad sample ends it."""

import itertools

import pytest

from sci_memeff.data.example import Example, Skipped
from sci_memeff.training.stream import samples

from .standins import TinyData


@pytest.mark.parametrize("workers", [0, 2])
def test_samples_come_in_order_from_any_start(workers):
    stream = samples(TinyData(), start=7, workers=workers)
    found = list(itertools.islice(stream, 6))
    assert [k for k, _ in found] == [7, 8, 9, 10, 11, 12]
    assert [item.name for _, item in found] == [
        "walk_3",
        "walk_0",
        "sample 9",
        "walk_2",
        "walk_3",
        "walk_0",
    ]
    assert isinstance(found[0][1], Example)
    assert isinstance(found[2][1], Skipped)
    assert "line cut short" in found[2][1].reason


def test_a_bug_is_no_bad_sample():
    class Wrong:
        def __getitem__(self, k: int) -> Example:
            raise KeyError("aatype")

    with pytest.raises(KeyError):
        next(samples(Wrong(), start=0, workers=0))
