"""Nested values are taken apart and put together again, records of a model's own included."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sci_memeff.planning.tree import flatten

Pair = namedtuple("Pair", "first second")


@dataclass
class Record:
    x: Any
    rest: Any = None
    tags: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Frozen:
    x: Any

    def __post_init__(self) -> None:
        if self.x is None:
            raise ValueError("no constructor is to be called")


A, B, C = (torch.zeros(k) for k in (1, 2, 3))

VALUES = [
    A,
    None,
    7,
    [],
    (A, [B, {"c": C, "n": 3}]),
    OrderedDict(b=B, a=(A,)),
    Pair(A, Pair(B, "name")),
    Record(A, rest={"r": Record(B, tags=["t"])}),
    (Frozen(Frozen(A)), B),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda v: type(v).__name__)
def test_a_round_trip(value: Any) -> None:
    leaves, tree = flatten(value)
    assert not any(isinstance(x, (list, tuple, dict, Record, Frozen)) for x in leaves)
    again = tree.filled(leaves)
    assert type(again) is type(value)
    assert again is value or again == value
    assert flatten(again)[1] == tree
    assert hash(flatten(again)[1]) == hash(tree)


def test_other_leaves_in_the_same_places() -> None:
    _, tree = flatten((Record(A, rest=B), {"k": C}))
    found = tree.filled([1, 2, 3])
    assert found == (Record(1, rest=2, tags=[]), {"k": 3})
    assert flatten((Record(5, rest=6), {"k": 7}))[1] == tree


def test_a_record_is_made_without_its_constructor() -> None:
    _, tree = flatten(Frozen(A))
    assert tree.filled([None]).x is None


@pytest.mark.parametrize(
    "other",
    [
        (Record(A, rest=B), {"other": C}),
        (Record(A, rest=[B]), {"k": C}),
        [Record(A, rest=B), {"k": C}],
        (Record(A, rest=B, tags=["t"]), {"k": C}),
        ((A, B), {"k": C}),
    ],
)
def test_trees_differ_where_structures_do(other: Any) -> None:
    assert flatten((Record(A, rest=B), {"k": C}))[1] != flatten(other)[1]


def test_modules_and_classes_are_leaves() -> None:
    @dataclass(eq=False)
    class Module(nn.Module):
        x: Tensor

        def __post_init__(self) -> None:
            super().__init__()

    module = nn.Linear(1, 1)
    assert flatten((module, Record))[0] == [module, Record]
