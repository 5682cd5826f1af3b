"""Stockholm alignments (jackhmmer): the query's columns kept, everything else counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sci_memeff.data.files import read_text
from sci_memeff.data.formats.msa import GAP, Msa, count_deletions, to_rows
from sci_memeff.errors import BadDataError

__all__ = ["parse_stockholm", "read_stockholm"]

_GAPS = str.maketrans("._~", "---")  # HMMER writes '.' where an insertion is absent


def read_stockholm(path: str | Path) -> Msa:
    """The alignment in a file (.gz accepted); as `parse_stockholm`."""
    return parse_stockholm(read_text(path), source=str(path))


def parse_stockholm(text: str, *, source: str) -> Msa:
    """Rows over the residues of the first sequence, the query, in one or more blocks of lines.

    Columns where the query has a gap are removed; a residue that stood there counts as deleted
    before the next column, as in AlphaFold 2 (Supplement 1.2.2).

    Errors: BadDataError, with the line, for a missing header, rows of unequal length, characters
    that are neither letters nor gaps, and a file that ends before '//'.
    """
    names, rows, lines = _rows(text, source)
    width = len(rows[0])
    for name, row, line in zip(names, rows, lines, strict=True):
        if len(row) != width:
            raise BadDataError(
                f"ragged: {name!r} has {len(row)} columns, {names[0]!r} {width}",
                source=source,
                line=line,
                mend="all rows must have the same columns in every block; fetch or align again",
            )
    codes = np.frombuffer("".join(rows).encode("ascii"), np.uint8).reshape(len(rows), width)
    column = codes[0] != GAP
    if not column.any():
        raise BadDataError(
            f"the query {names[0]!r} has gaps only",
            source=source,
            line=lines[0],
            mend="the first row must be the query",
        )
    inserted = (codes != GAP) & ~column
    kept = np.broadcast_to(column, codes.shape)
    starts = np.arange(len(rows), dtype=np.int64) * width
    return Msa(
        sequences=to_rows(codes[:, column]),
        deletions=count_deletions(inserted.ravel(), kept.ravel(), starts),
        descriptions=tuple(names),
    )


def _rows(text: str, source: str) -> tuple[list[str], list[str], list[int]]:
    """Names, whole rows and the line where each begins."""
    pieces: dict[str, list[str]] = {}
    lines: dict[str, int] = {}
    begun = ended = False
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.strip()
        if line == "//":
            ended = True
            break
        if line.startswith("#") or not line:
            begun = begun or line.startswith("# STOCKHOLM")
            continue
        name, piece = _row(line, source, number)
        pieces.setdefault(name, []).append(piece)
        lines.setdefault(name, number)
    if not begun or not pieces or not ended:
        wrong = "no '# STOCKHOLM' header" if not begun else "no row" if not pieces else "no '//'"
        raise BadDataError(
            f"{wrong}: not a Stockholm alignment, or one cut short",
            source=source,
            mend="fetch or align again",
        )
    return list(pieces), ["".join(piece) for piece in pieces.values()], list(lines.values())


def _row(line: str, source: str, number: int) -> tuple[str, str]:
    fields = line.split()
    row = fields[-1].translate(_GAPS).upper()
    if len(fields) == 2 and row.isascii() and row.replace("-", "A").isalpha():
        return fields[0], row
    raise BadDataError(
        f"not 'name row': {line[:40]!r}",
        source=source,
        line=number,
        mend="each row is a name, spaces, and letters or gaps; fetch or align again",
    )
