"""Which batches can be the worst."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sci_memeff.planning.batches import bytes_in, worst_batches


def batch(*shapes: tuple[int, ...], dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    return {f"x{i}": torch.zeros(shape, dtype=dtype) for i, shape in enumerate(shapes)}


def shapes(batches: list[Any]) -> list[list[tuple[int, ...]]]:
    return [[tuple(x.shape) for x in one.values()] for one in batches]


def test_the_largest_stays_alone() -> None:
    found = worst_batches([batch((k, 4), (k,)) for k in (3, 9, 5)], batch((4, 4), (4,)))
    assert shapes(found) == [[(9, 4), (9,)]]


def test_the_first_stays_as_it_is_and_the_others_lose_their_values() -> None:
    first = batch((9, 4), (3,))
    found = worst_batches([batch((8, 4), (7,))], first)
    assert found[0] is first
    assert all(x.device.type == "meta" for x in found[1].values())
    assert shapes(found) == [[(9, 4), (3,)], [(8, 4), (7,)]]


def test_equal_batches_are_one() -> None:
    first = batch((5,))
    assert worst_batches([batch((5,)), batch((5,))], first)[0] is first
    assert len(worst_batches([batch((5,)), batch((5,))], first)) == 1


def test_one_long_row_is_not_covered_by_many_short_ones() -> None:
    """Attention over the long one is larger, though the other has more elements."""
    found = worst_batches([batch((64, 64))], batch((1, 1024)))
    assert shapes(found) == [[(1, 1024)], [(64, 64)]]


def test_wider_numbers_are_not_covered_by_narrower_ones() -> None:
    narrow, wide = batch((5,)), batch((5,), dtype=torch.float64)
    assert [x["x0"].dtype for x in worst_batches([wide], narrow)] == [torch.float64]
    assert [x["x0"].dtype for x in worst_batches([narrow], wide)] == [torch.float64]


def test_unlike_structures_are_both_looked_at() -> None:
    one, other, third = batch((5,)), {"y": torch.zeros(100)}, (torch.zeros(3), torch.zeros(3))
    assert len(worst_batches([other, third], one)) == 3
    assert len(worst_batches([batch((5, 1))], batch((6,)))) == 2


def test_batches_may_come_one_at_a_time() -> None:
    assert len(worst_batches((batch((k,)) for k in range(1, 50)), batch((2,)))) == 1


def test_bytes_of_all_tensors() -> None:
    x = torch.zeros(3, dtype=torch.float64)
    assert bytes_in({"a": [x, torch.zeros(5, dtype=torch.int8)], "b": ("name", 7)}) == 29
