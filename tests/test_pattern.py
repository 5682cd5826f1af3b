"""Patterns over names of modules: the shell's, and ranges of whole numbers."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest

from sci_memeff import Rule
from sci_memeff._pattern import compiled, starred
from sci_memeff._types import plainly
from sci_memeff.errors import BadPlanError

NAMES = ["", "a", "blocks.3", "blocks.13", "blocks.3.mlp", "x[0].y", "Blocks.3", "a.b.c"]


@pytest.mark.parametrize("where", ["*", "", "blocks.*", "*.3", "?", "blocks.[13]", "a*c", "*.y"])
def test_without_a_range_it_is_the_shells(where):
    found = [compiled(where).match(name) is not None for name in NAMES]
    assert found == [fnmatchcase(name, where) for name in NAMES]


def matched(where: str, form: str = "blocks.{}", most: int = 130) -> list[int]:
    return [i for i in range(most) if compiled(where).match(form.format(i))]


def test_a_range_is_whole_numbers():
    assert matched("blocks.<3-11>") == list(range(3, 12))
    assert matched("*<3-11>") == list(range(3, 12))
    assert matched("blocks.<3-11>*") == list(range(3, 12))
    assert matched("blocks.<100-119>") == list(range(100, 120))
    assert matched("*.<0-1>.mlp", "blocks.{}.mlp") == [0, 1]
    assert matched("blocks.<0-1>") == matched("blocks.<0-1>", "blocks.{}") == [0, 1]
    assert matched("blocks.<0-1>", "blocks.{}.mlp") == []


def test_two_ranges_each_have_their_own_numbers():
    pattern = compiled("a.<0-2>.b.<5-6>")
    assert pattern.match("a.2.b.5")
    assert not pattern.match("a.5.b.2")
    assert not pattern.match("a.3.b.5")


def test_a_range_that_is_searched_for_among_several_numbers():
    assert compiled("*.<3-4>.*").match("a.9.b.3.c")
    assert not compiled("*.<3-4>.*").match("a.9.b.13.c")


def test_what_is_no_range_is_text():
    assert compiled("a.<x-3>").match("a.<x-3>")
    assert not compiled("a.<x-3>").match("a.1")


def test_an_empty_range_is_refused_when_the_rule_is_made():
    with pytest.raises(BadPlanError, match="mend: write <3-11>") as caught:
        Rule(where="blocks.<11-3>", seam="forward", use=plainly)
    assert "the range <11-3> in 'blocks.<11-3>' holds no number" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("blocks.3.norm", "blocks.*.norm"),
        ("3.linear_1.12", "*.linear_1.*"),
        ("linear1", "linear1"),
        ("", ""),
    ],
)
def test_a_pattern_of_names_that_differ_in_numbers(name, pattern):
    assert starred(name) == pattern
    assert compiled(pattern).match(name)
