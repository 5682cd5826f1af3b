"""Reading CIF text: gemmi's syntax, its errors as ours, and categories as columns of strings."""

from __future__ import annotations

import re
from collections.abc import Sequence

import gemmi
import numpy as np

from sci_memeff.errors import BadDataError

__all__ = ["columns", "first_value", "numbers", "read_block", "values"]

# gemmi's "string:3:7(14): ..." and "string:3 in data_X: ..."
_PLACE = re.compile(r"^string:(\d+)(?::\d+\(\d+\)| in \S+)?: ")
_TRUNCATED = "fetch the file again: it may be cut short"


def read_block(text: str, category: str, *, source: str) -> gemmi.cif.Block:
    """The first data block that has this category ("_atom_site.").

    Errors: BadDataError with the line for text that is not CIF, and for a file that is cut short.
    Files of the wwPDB part their categories by lines of '#', and end in one: by this a file that
    was cut between two rows of a table is known.
    """
    try:
        document = gemmi.cif.read_string(text)
    except (ValueError, RuntimeError) as error:  # gemmi's two, for syntax and for doubled tags
        message = str(error).splitlines()[0]
        place = _PLACE.match(message)
        raise BadDataError(
            f"is not CIF: {message[place.end() :] if place else message}",
            source=source,
            line=int(place[1]) if place else None,
            mend=_TRUNCATED,
        ) from None
    lines = [line.strip() for line in text.rstrip().rsplit("\n", 1)]
    if text.count("\n#") > 3 and not lines[-1].startswith("#"):
        raise BadDataError(
            "does not end in '#', as it would if it were whole",
            source=source,
            line=text.count("\n") + 1,
            mend=f"{_TRUNCATED}; if it is whole, add a line '#' at its end",
        )
    for block in document:
        if category in block.get_mmcif_category_names():
            return block
    raise BadDataError(
        f"has no table {category}*", source=source, field=category + "*", mend=_TRUNCATED
    )


def values(block: gemmi.cif.Block, tag: str) -> list[str]:
    """Every value of one item, unquoted; "" for '?' and '.', nothing where the item is absent."""
    raw = list(block.find_values(tag))
    plain = {value: gemmi.cif.as_string(value) for value in set(raw)}
    return [plain[value] for value in raw]


def first_value(block: gemmi.cif.Block, tag: str) -> str:
    """The first value of an item, "" where there is none."""
    found = values(block, tag)
    return found[0] if found else ""


def columns(
    block: gemmi.cif.Block, category: str, names: Sequence[str], *, source: str
) -> list[list[str]]:
    """The columns of a table, all of one length; a missing one is a BadDataError."""
    table = [values(block, category + name) for name in names]
    for name, column in zip(names, table, strict=True):
        if not column or len(column) != len(table[0]):
            raise BadDataError(
                f"has {len(column)} values, {names[0]} {len(table[0])}",
                source=source,
                field=category + name,
                mend="write the whole table, or fetch the file again",
            )
    return table


def numbers(column: Sequence[str], *, source: str, field: str) -> np.ndarray:
    """float64; NaN for "" ('?' and '.'), standard uncertainties "1.23(4)" left off.

    Errors: BadDataError with the first value that is no number.
    """
    try:
        return np.array(column, dtype=np.float64)
    except ValueError:
        found = [gemmi.cif.as_number(value) if value else np.nan for value in column]
    for value, number in zip(column, found, strict=True):
        if value and np.isnan(number) and value.lower() != "nan":
            raise BadDataError(
                f"{value!r} is no number", source=source, field=field, mend=_TRUNCATED
            )
    return np.array(found)
