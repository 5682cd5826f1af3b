"""What the two formats ask of a chain before it is written: names, numbers, finite values."""

from __future__ import annotations

import re

import numpy as np

from sci_memeff.chemistry import ONE_TO_THREE
from sci_memeff.data.formats.structure import Chain
from sci_memeff.errors import BadDataError

__all__ = ["author_number", "check_finite", "three_letters"]

_NUMBER = re.compile(r"(-?\d+)([A-Za-z]?)")


def three_letters(letter: str) -> str:
    """The residue's name in a file; UNK where the letter is none of the twenty."""
    return ONE_TO_THREE.get(letter, "UNK")


def author_number(chain: Chain, row: int, source: str) -> tuple[str, str]:
    """Number and insertion code; both "" for a residue without coordinates.

    Errors: BadDataError where a residue with coordinates has no such number.
    """
    text = chain.author_numbers[row]
    match = _NUMBER.fullmatch(text)
    if match is None and (text or chain.mask[row].any()):
        raise BadDataError(
            f"{text!r} is no author number (residue {row + 1} of chain {chain.author_id})",
            source=source,
            field="author_numbers",
            mend='give each resolved residue a number, with a letter or none: "52", "52A"',
        )
    return (match[1], match[2]) if match else ("", "")


def check_finite(chain: Chain, source: str) -> None:
    """Raise BadDataError where an atom that is there has no finite position or B-factor."""
    known = chain.positions[chain.mask], chain.b_factors[chain.mask]
    if not all(np.isfinite(values).all() for values in known):
        raise BadDataError(
            f"chain {chain.author_id} has positions or B-factors that are not finite",
            source=source,
            field="positions",
            mend="mask these atoms, or find out why the model made them",
        )
