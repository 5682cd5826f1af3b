"""What a choice says in a plan, and the choices on the way to a faster one."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from sci_memeff import Rule
from sci_memeff.checkpointing import Host, in_segments, recomputed
from sci_memeff.chunking import in_slices, sliced
from sci_memeff.kernels import attend
from sci_memeff.planning.groups import (
    AttendGroup,
    Group,
    Segments,
    SliceGroup,
    StackGroup,
    numbers_of,
    walked,
)

HOST = Host()


def walks(length: int = 100, **changes: Any) -> SliceGroup:
    settings: dict[str, Any] = {
        "where": "blocks.<0-3>.att",
        "count": 4,
        "length": length,
        "saved": 10,
        "seconds": 1.0,
        "make": partial(walked, much_shared=False),
    }
    return SliceGroup(**{**settings, **changes})


def stack(count: int = 5, seam: str = "iterate", where: str = "evoformer") -> StackGroup:
    return StackGroup(where=where, count=count, boundary=1, saved=10, seconds=1.0, seam=seam)


ATTEND = AttendGroup(where="*.mha", count=1, saved=1, seconds=1.0)


@pytest.mark.parametrize("group", [walks(), stack(), ATTEND])
def test_groups_are_groups_and_say_nothing_for_nothing(group: Group) -> None:
    assert isinstance(group, Group)
    assert group.rules(None) == ()


def test_slices_are_a_number_of_rows() -> None:
    assert walks().rules(3) == (Rule(where="blocks.<0-3>.att", seam="walk", use=in_slices(34)),)
    shares = walks(make=partial(walked, much_shared=True))
    assert shares.rules(4)[0].use == in_slices(25, recompute_shared=True)
    own = walks(make=partial(sliced, in_dims={"x": -2}, out_dims=-2), seam="forward")
    assert own.rules(100) == (
        Rule(where="blocks.<0-3>.att", seam="forward", use=sliced(1, {"x": -2}, -2)),
    )


@pytest.mark.parametrize("length", [1, 2, 7, 100, 101])
@pytest.mark.parametrize("slices", [1, 2, 4, 16, 64, 256])
def test_there_are_never_more_slices_than_asked_for(length: int, slices: int) -> None:
    size = walks(length).size(slices)
    assert size >= 1
    assert -(-length // size) <= slices
    assert size == 1 or -(-length // (size - 1)) > slices


def test_stacks_of_ours_leave_the_last_steps() -> None:
    def use(choice: Segments) -> Any:
        (rule,) = stack().rules(choice)
        assert (rule.where, rule.seam) == ("evoformer", "iterate")
        return rule.use

    assert use(Segments(5)) == in_segments(1)
    assert use(Segments(9)) == in_segments(1)
    assert use(Segments(2)) == in_segments(1, leave=3)
    assert use(Segments(5, (3, 2))) == in_segments((3, 2))
    assert use(Segments(5, (2,), two_levels=True)) == in_segments(2, inner=in_segments(1))
    assert use(Segments(4, store=HOST)) == in_segments(1, keep=HOST, leave=1)
    assert stack().rules(Segments(0)) == ()


def test_stacks_of_others_are_recomputed_by_name() -> None:
    group = stack(5, "forward", "net.<2-6>.block")
    assert group.rules(Segments(5)) == (
        Rule(where="net.<2-6>.block", seam="forward", use=recomputed()),
    )
    assert group.rules(Segments(2, store=HOST)) == (
        Rule(where="net.<2-3>.block", seam="forward", use=recomputed(keep=HOST)),
    )
    assert stack(1, "forward", "net.block").rules(Segments(1))[0].where == "net.block"


def test_attention_by_the_name_of_its_form() -> None:
    rule = Rule(where="*.mha", seam="attend", use=attend("streaming"))
    assert ATTEND.rules("streaming") == (rule,)
    assert list(ATTEND.between("streaming", None)) == [None]
    assert list(ATTEND.between("streaming", "streaming")) == []


@pytest.mark.parametrize(
    ("lean", "fast", "way"),
    [
        (16, None, [8, 4, 2, None]),
        (16, 4, [8, 4]),
        (16, 1, [8, 4, 2, 1]),
        (17, 2, [8, 4, 2]),
        (4, 4, []),
        (256, 64, [128, 64]),
    ],
)
def test_ever_fewer_slices(lean: int, fast: int | None, way: list[int | None]) -> None:
    assert list(walks().between(lean, fast)) == way


@pytest.mark.parametrize("fast", [None, Segments(2), Segments(2, store=HOST)])
def test_ever_fewer_steps_are_recomputed(fast: Segments | None) -> None:
    lean = Segments(5, (2, 1), two_levels=True)
    way = list(stack().between(lean, fast))
    assert way[-1] == fast
    before = [one for one in way[:-1] if isinstance(one, Segments)]
    assert len(before) == len(way) - 1
    assert all(
        (one.lengths, one.two_levels, one.store) == (lean.lengths, True, lean.store)
        for one in before
    )
    firsts = [lean.first, *(one.first for one in before), 0 if fast is None else fast.first]
    assert all(a - b == 1 for a, b in pairwise(firsts))


def test_there_is_no_way_from_nothing_nor_to_itself() -> None:
    assert list(stack().between(None, Segments(2))) == []
    assert list(stack().between(Segments(2), Segments(2))) == []


def test_the_first_range_of_a_pattern() -> None:
    assert numbers_of("a.<3-11>.b.<0-1>") == (3, 11)
