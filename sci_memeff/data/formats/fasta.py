"""FASTA: the records of a file, each with the line it begins on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sci_memeff.data.files import read_text
from sci_memeff.errors import BadDataError

__all__ = ["FastaRecord", "parse_fasta", "read_query"]

_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_MARGIN = " \t\r\n\0"  # MMseqs2's databases part their alignments with NUL


@dataclass(frozen=True)
class FastaRecord:
    """One header and the letters below it."""

    description: str
    """The header, without '>'."""
    sequence: str
    """The letters as they stand in the file, lines joined."""
    line: int
    """Of the header, from 1."""


def parse_fasta(text: str, *, source: str) -> list[FastaRecord]:
    """Records in the order of the file; blank lines and lines that begin with # are passed over.

    Errors: BadDataError where letters come before the first header, where a header has no
    letters, and where there is no record at all.
    """
    headers: list[tuple[str, int]] = []
    bodies: list[list[str]] = []
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.strip(_MARGIN)
        if line.startswith(">"):
            headers.append((line[1:].strip(), number))
            bodies.append([])
        elif line and not line.startswith("#"):
            if not bodies:
                raise BadDataError(
                    f"letters before the first header: {line[:30]!r}",
                    source=source,
                    line=number,
                    mend="begin each sequence with a line '>name'",
                )
            bodies[-1].append(line)
    records = [
        FastaRecord(description, "".join(body), number)
        for (description, number), body in zip(headers, bodies, strict=True)
    ]
    _check(records, source)
    return records


def read_query(path: str | Path) -> FastaRecord:
    """The one protein of a FASTA file (.gz accepted), in capitals.

    Errors: BadDataError where the file holds more than one, or anything but letters.
    """
    records = parse_fasta(read_text(path), source=str(path))
    first = records[0]
    if len(records) > 1:
        raise BadDataError(
            f"{len(records)} sequences where one query is asked for",
            source=str(path),
            line=records[1].line,
            mend="give one file for each protein",
        )
    sequence = first.sequence.upper()
    if strange := sorted(set(sequence) - _LETTERS):
        raise BadDataError(
            f"{''.join(strange)!r} in the sequence",
            source=str(path),
            line=first.line,
            mend="leave only the one-letter codes of residues",
        )
    return FastaRecord(first.description, sequence, first.line)


def _check(records: list[FastaRecord], source: str) -> None:
    if not records:
        raise BadDataError(
            "no sequence", source=source, mend="begin each sequence with a line '>name'"
        )
    for record in records:
        if not record.sequence:
            raise BadDataError(
                f"no letters below {record.description[:30]!r}",
                source=source,
                line=record.line,
                mend="remove the header, or fetch the file again: it may be cut short",
            )
