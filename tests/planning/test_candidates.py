"""Patterns of names, lengths of segments, and the plans that a search always looks at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

import pytest
from torch import nn

from sci_memeff import Plan, Rule
from sci_memeff._pattern import compiled
from sci_memeff.checkpointing import Coded, Host, InSegments
from sci_memeff.checkpointing.stores import ON_DEVICE
from sci_memeff.planning.candidates import (
    LATE,
    Space,
    decreasing,
    patterns,
    space_of,
    stores_of,
)
from sci_memeff.planning.groups import (
    AttendGroup,
    Group,
    Segments,
    SliceGroup,
    StackGroup,
    walked,
)
from sci_memeff.planning.survey import Stack, Survey, Walked
from sci_memeff.precision.codecs import Fp8

# names of modules


def found(classes: Mapping[str, type]) -> dict[str, tuple[str, ...]]:
    return dict(patterns(classes, classes))


def test_names_that_differ_in_numbers_are_one_pattern() -> None:
    names = [f"blocks.{k}.att" for k in range(12)]
    assert found(dict.fromkeys(names, nn.Linear)) == {"blocks.<0-11>.att": tuple(names)}
    assert found({"a.3.b": nn.Linear, "a.4.c": nn.Linear, "d": nn.Linear}) == {
        "a.3.b": ("a.3.b",),
        "a.4.c": ("a.4.c",),
        "d": ("d",),
    }
    names = [f"a.{i}.b.{j}" for i in range(2) for j in range(3)]
    assert found(dict.fromkeys(names, nn.Linear)) == {"a.<0-1>.b.<0-2>": tuple(names)}
    assert list(found(dict.fromkeys(["0.a", "1.a"], nn.Linear))) == ["<0-1>.a"]
    assert list(found(dict.fromkeys(["block1.a", "block2.a"], nn.Linear))) == [
        "block1.a",
        "block2.a",
    ]


def test_other_classes_are_other_patterns() -> None:
    classes = {f"blocks.{k}.att": (nn.Linear if k < 2 else nn.GELU) for k in range(5)}
    assert list(found(classes)) == ["blocks.<0-1>.att", "blocks.<2-4>.att"]


@pytest.mark.parametrize(
    "classes",
    [
        {f"layers.{k}": (nn.Linear, nn.GELU)[k % 2] for k in range(6)},
        {f"layers.{k}": (nn.Linear, nn.Linear, nn.GELU)[k % 3] for k in range(7)},
        {f"a.{i}.{j}": (nn.Linear, nn.GELU)[i == j] for i in range(3) for j in range(3)},
        {f"a.{i}.{j}": nn.Linear for i in range(3) for j in range(i + 1)},
    ],
)
def test_a_pattern_is_no_module_of_another_group_s(classes: dict[str, type]) -> None:
    """What slices or recomputes one kind of module is not to reach the others between them."""
    seen: list[str] = []
    for where, names in patterns(classes, classes):
        assert {n for n in classes if compiled(where).match(n)} == set(names)
        assert len({classes[n] for n in names}) == 1
        seen += names
    assert sorted(seen) == sorted(classes)


# lengths of segments


def spread(lengths: tuple[int, ...], count: int) -> list[int]:
    """Of each segment; the last length is that of all that follow."""
    each: list[int] = []
    while sum(each) < count:
        each.append(min(lengths[min(len(each), len(lengths) - 1)], count - sum(each)))
    return each


def cost(each: tuple[int, ...] | list[int], boundary: int, inside: int) -> int:
    """The most that is alive: boundaries up to a segment, and all of its insides."""
    return max((k + 1) * boundary + length * inside for k, length in enumerate(each))


def all_ways(count: int) -> Iterator[tuple[int, ...]]:
    if not count:
        yield ()
    for first in range(1, count + 1):
        for rest in all_ways(count - first):
            yield (first, *rest)


@pytest.mark.parametrize("count", range(1, 10))
@pytest.mark.parametrize(
    ("boundary", "inside"), [(1, 1), (1, 2), (2, 1), (3, 7), (7, 3), (1, 10), (10, 1), (0, 5)]
)
def test_no_other_lengths_need_fewer_bytes(count: int, boundary: int, inside: int) -> None:
    lengths = decreasing(count, boundary, inside)
    each = spread(lengths, count)
    assert sum(each) == count
    assert each == sorted(each, reverse=True)
    assert cost(each, boundary, inside) == min(cost(w, boundary, inside) for w in all_ways(count))


def test_nothing_to_keep_needs_no_segments() -> None:
    assert decreasing(5, 0, 0) == (5,)
    assert decreasing(5, 3, 0) == (5,)


def test_lengths_of_a_deep_stack() -> None:
    lengths = decreasing(48, 1 << 20, 1 << 20)
    assert sum(spread(lengths, 48)) == 48
    assert cost(spread(lengths, 48), 1, 1) == 11  # with 10, 9 + 8 + … + 1 = 45 are too few
    assert decreasing(48, 1, 1000) == (1,)


# the space


def walks(where: str, saved: int, seconds: float, stack: str = "stack") -> SliceGroup:
    return SliceGroup(
        where=where,
        count=4,
        length=1000,
        saved=saved,
        seconds=seconds,
        make=partial(walked, much_shared=False),
        within=frozenset({stack}),
    )


STACK = StackGroup(where="stack", count=8, boundary=10, saved=500, seconds=3.0, seam="iterate")
GROUPS: dict[str, tuple[Group, ...]] = {
    "nothing": (),
    "a stack": (STACK,),
    "slices": (walks("a", 100, 1.0),),
    "attention": (AttendGroup(where="*.mha", count=1, saved=1, seconds=1.0),),
    "all": (
        AttendGroup(where="*.mha", count=1, saved=1, seconds=1.0),
        walks("a", 100, 1.0),
        walks("b", 300, 1.0),
        walks("c", 10, 1.0),
        STACK,
        StackGroup(where="net.<0-3>", count=4, boundary=7, saved=9, seconds=1.0, seam="forward"),
    ),
}
STORES = {
    "device": stores_of(hosts=False, codec=None),
    "host": stores_of(hosts=True, codec=None),
    "codes": stores_of(hosts=False, codec=Fp8()),
    "codes on the host": stores_of(hosts=True, codec=Fp8()),
}


@pytest.mark.parametrize("stores", STORES)
@pytest.mark.parametrize("name", GROUPS)
def test_the_grid_starts_plain_and_has_nothing_twice(name: str, stores: str) -> None:
    space = Space(GROUPS[name], STORES[stores])
    for states in (space.coarse(), space.leaner()):
        assert states[0] == space.plain == (None,) * len(space.groups)
        assert len(set(states)) == len(states)
        assert all(len(state) == len(space.groups) for state in states)
        rules = [space.plan(state).rules for state in states]
        assert len(set(rules)) == len(rules)
    assert space.plan(space.plain) == Plan()
    assert len(space.coarse()) == 1 or name != "nothing"


def test_stores() -> None:
    assert STORES["device"] == (ON_DEVICE,)
    assert STORES["host"] == (ON_DEVICE, Host(), LATE)
    assert STORES["codes"] == (ON_DEVICE, Coded(Fp8()))
    coded = tuple(Coded(Fp8(), keep=place) for place in STORES["host"])
    assert STORES["codes on the host"] == (*STORES["host"], *coded)


def test_fewer_boundaries_of_codes_are_more_than_of_tensors() -> None:
    """They take half of the bytes, so that segments are shorter."""
    space = Space((STACK,), STORES["codes"])
    lengths = {
        store: [
            len(spread(one.lengths, 8))
            for (one,) in space.coarse()
            if isinstance(one, Segments) and one.store == store and len(one.lengths) > 1
        ]
        for store in STORES["codes"]
    }
    assert lengths[Coded(Fp8())]
    assert sum(lengths[Coded(Fp8())]) >= sum(lengths[ON_DEVICE])


def test_everything_is_tried() -> None:
    space = Space(GROUPS["all"], STORES["host"])
    chosen = [set(column) for column in zip(*space.coarse(), strict=True)]
    assert chosen[0] == {None, "streaming"}
    assert chosen[1] == {None, 4, 16}
    stacks = [one for one in chosen[4] if isinstance(one, Segments)]
    assert all(one.first == 8 for one in stacks)
    assert {one.store for one in stacks} == set(STORES["host"])
    assert any(one.two_levels for one in stacks)
    assert any(len(one.lengths) > 1 for one in stacks)
    # other people's steps are computed again one by one
    assert all(
        one == Segments(4, store=one.store) for one in chosen[5] if isinstance(one, Segments)
    )
    assert {state[1] for state in space.leaner()} == {None, 64, 256}


def test_other_people_s_modules_that_nothing_recomputes_are_sliced_alone_too() -> None:
    alone = replace(walks("sum", 900, 1.0), seam="forward", within=frozenset())
    inside = replace(walks("net.<0-3>.mlp", 50, 1.0, "net.<0-3>"), seam="forward")
    space = Space((GROUPS["all"][-1], inside, alone), STORES["device"])
    assert {(None, None, 4), (None, None, 16)} < set(space.coarse())
    one_kind = Space((alone,), STORES["device"])
    assert one_kind.coarse() == [(None,), (4,), (16,)]
    assert (None, None, 4) not in Space((inside, inside, alone), STORES["device"]).leaner()


def test_nothing_goes_to_the_host_that_may_not() -> None:
    space = Space(GROUPS["all"], STORES["device"])
    for state in (*space.coarse(), *space.leaner()):
        for one in state:
            assert not isinstance(one, Segments) or one.store == ON_DEVICE


@pytest.mark.parametrize("stores", STORES)
def test_lean_states_slice_and_recompute_everything(stores: str) -> None:
    space = Space(GROUPS["all"], STORES[stores])
    lean = space.lean()
    assert set(lean) <= set(space.coarse())
    assert lean[-1][:4] == ("streaming", 16, 16, 16)
    assert any(isinstance(state[4], Segments) for state in lean)


# from a survey


def test_a_survey_s_groups() -> None:
    survey = Survey(
        walks={
            "blocks.0.att": Walked(length=40, calls={"rows": (70, 0.5), "bias": (30, 0.25)}),
            "blocks.1.att": Walked(length=40, calls={"rows": (70, 0.5), "bias": (30, 0.25)}),
            "blocks.0.inner": Walked(length=9, calls={"rows": (5, 0.1)}, inside="blocks.0.att"),
            "blocks.0.free": Walked(length=9, calls={"rows": (0, 0.1)}),
            "head.mul": Walked(length=7, calls={"rows": (6, 0.1)}, much_shared=True),
        },
        stacks={
            "": Stack(2, 3, 200, 1.5, ("blocks.0", "blocks.1")),
            "once": Stack(1, 3, 200, 1.5, ("once.0",)),
        },
        attends={"blocks.0.att.mha": (9, 0.1), "blocks.1.att.mha": (9, 0.1)},
    )
    names = [*survey.walks, *survey.attends]
    space = space_of(survey, stores=STORES["host"], classes=dict.fromkeys(names, nn.Linear))
    attends, att, mul, stack = space.groups
    assert isinstance(attends, AttendGroup)
    assert (attends.count, attends.saved) == (2, 9)
    assert (attends.where, stack.where) == ("blocks.<0-1>.att.mha", "")
    assert isinstance(att, SliceGroup)
    assert (att.where, att.count, att.length, att.saved) == ("blocks.<0-1>.att", 2, 40, 100)
    assert att.seconds == 0.75
    assert isinstance(stack, StackGroup)
    assert (stack.count, stack.boundary, stack.saved) == (2, 3, 200)
    assert mul.rules(7)[0].use == walked(1, much_shared=True)
    assert isinstance(stack.rules(Segments(2))[0].use, InSegments)
    assert space.stores == STORES["host"]
    assert space.plan(("streaming", 2, None, None)).rules == (
        *attends.rules("streaming"),
        Rule(where="blocks.<0-1>.att", seam="walk", use=walked(20, much_shared=False)),
    )
