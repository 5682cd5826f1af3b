"""A3M alignments: capitals and '-' are columns of the query, small letters are insertions."""

from __future__ import annotations

from pathlib import Path
from string import ascii_lowercase, ascii_uppercase

import numpy as np
from jaxtyping import Bool, UInt8

from sci_memeff.data.files import read_text
from sci_memeff.data.formats.fasta import FastaRecord, parse_fasta
from sci_memeff.data.formats.msa import GAP, Msa, count_deletions, to_rows
from sci_memeff.errors import BadDataError

__all__ = ["parse_a3m", "read_a3m"]


def _codes_of(characters: str) -> Bool[np.ndarray, 256]:
    return np.isin(np.arange(256), list(characters.encode()))


_SMALL = _codes_of(ascii_lowercase)
_COLUMN = _codes_of(ascii_uppercase + "-")
# '.' pads the rows that lack another row's insertion; it is neither a column nor a residue.
_KNOWN = _SMALL | _COLUMN | _codes_of(".")


def read_a3m(path: str | Path) -> Msa:
    """The alignment in a file (.gz accepted); as `parse_a3m`."""
    return parse_a3m(read_text(path), source=str(path))


def parse_a3m(text: str, *, source: str) -> Msa:
    """Aligned rows and deletion counts, as AlphaFold 2 counts them (Supplement 1.2.2).

    Errors: BadDataError, with the line, for rows of unequal length, characters that are neither
    letters nor gaps, and a query (the first record) with gaps or insertions.
    """
    records = parse_fasta(text, source=source)
    lengths = np.array([len(record.sequence) for record in records])
    starts = np.cumsum(lengths) - lengths
    # one code for each character: whatever is not ASCII becomes '?', which is refused below
    joined = "".join(record.sequence for record in records).encode("ascii", errors="replace")
    codes = np.frombuffer(joined, np.uint8)
    _check_characters(codes, records, starts, source)
    kept = _COLUMN[codes]
    _check_query(codes[: lengths[0]], kept[: lengths[0]], records[0], source)
    _check_lengths(np.add.reduceat(kept, starts, dtype=np.int64), records, source)
    return Msa(
        sequences=to_rows(codes[kept].reshape(len(records), -1)),
        deletions=count_deletions(_SMALL[codes], kept, starts),
        descriptions=tuple(record.description for record in records),
    )


def _check_characters(
    codes: UInt8[np.ndarray, " letters"],
    records: list[FastaRecord],
    starts: np.ndarray,
    source: str,
) -> None:
    known = _KNOWN[codes]
    if known.all():
        return
    at = int(np.argmin(known))
    row = int(np.searchsorted(starts, at, side="right")) - 1
    strange = records[row].sequence[at - int(starts[row])]
    raise BadDataError(
        f"{strange!r} in the row of {records[row].description[:30]!r}",
        source=source,
        line=records[row].line,
        mend="rows hold letters, '-' and '.' only; fetch or align again",
    )


def _check_query(
    codes: UInt8[np.ndarray, " letters"],
    kept: Bool[np.ndarray, " letters"],
    record: FastaRecord,
    source: str,
) -> None:
    if not kept.all() or (codes == GAP).any():
        raise BadDataError(
            "the query (the first row) has gaps or small letters",
            source=source,
            line=record.line,
            mend="make the query's residues the columns: reformat.pl a3m a3m IN OUT -M first",
        )


def _check_lengths(columns: np.ndarray, records: list[FastaRecord], source: str) -> None:
    ragged = np.flatnonzero(columns != columns[0])
    if len(ragged):
        row = int(ragged[0])
        raise BadDataError(
            f"ragged: {records[row].description[:30]!r} has {columns[row]} columns, "
            f"the query {columns[0]} (rows like this: {len(ragged)})",
            source=source,
            line=records[row].line,
            mend="capitals and '-' must number the query's residues; align or fetch again",
        )
