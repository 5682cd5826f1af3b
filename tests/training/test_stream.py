"""The stream of samples: in order, from any start, and no bad sample ends it."""

import itertools

import pytest

from sci_memeff.data.example import Example, Skipped
from sci_memeff.training.stream import samples

from .standins import TinyData


class Wrong:
    def __getitem__(self, k: int) -> Example:
        if k % 2 == 0:
            raise KeyError("aatype")
        return Example(name="walk", features={})


@pytest.mark.parametrize("workers", [0, 2])
def test_samples_come_in_order_from_any_start(workers):
    stream = samples(TinyData(), start=7, workers=workers)
    found = list(itertools.islice(stream, 6))
    assert [k for k, _ in found] == [7, 8, 9, 10, 11, 12]
    assert [item.name for _, item in found] == [
        "walk_3",
        "walk_0",
        "worse.cif",
        "walk_2",
        "walk_3",
        "walk_0",
    ]
    assert isinstance(found[0][1], Example)
    assert isinstance(found[2][1], Skipped)
    assert "line cut short" in found[2][1].reason


@pytest.mark.parametrize("workers", [0, 1])
def test_whatever_is_wrong_with_a_sample_does_not_end_the_stream(workers):
    stream = samples(Wrong(), start=2, workers=workers)
    (_, bad), (k, good) = itertools.islice(stream, 2)
    assert isinstance(bad, Skipped)
    assert (bad.name, bad.reason) == ("sample 2", "KeyError: 'aatype'")
    assert k == 3
    assert isinstance(good, Example)
