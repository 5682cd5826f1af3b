"""Patterns over names of modules."""

from __future__ import annotations

import re
from fnmatch import translate
from functools import cache

from sci_memeff.errors import BadPlanError

__all__ = ["compiled", "starred"]

_RANGE = re.compile(r"<(\d+)-(\d+)>")
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)|^\d+(?=\.|$)")
_MARK = "\ue000"  # a private character: no name of a module has one


@cache
def compiled(where: str) -> re.Pattern[str]:
    """`where` as a regular expression: the shell's wildcards, and `<3-11>` for 3, 4, … to 11.

    BadPlanError for a range that holds no number.
    """
    expression = translate(_RANGE.sub(_MARK, where))
    for low, high in _RANGE.findall(where):
        if int(low) > int(high):
            raise BadPlanError(
                f"the range <{low}-{high}> in {where!r} holds no number",
                mend=f"write <{high}-{low}>",
            )
        numbers = "|".join(map(str, range(int(low), int(high) + 1)))
        expression = expression.replace(_MARK, rf"(?<!\d)(?:{numbers})(?!\d)", 1)
    return re.compile(expression)


def starred(name: str) -> str:
    """A pattern of all names that differ from this one in numbers alone: `blocks.*.norm`."""
    return _NUMBER.sub("*", name)
