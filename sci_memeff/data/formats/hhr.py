"""HHsearch result files (.hhr): the template hits of a query, best first."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from sci_memeff.data.files import read_text
from sci_memeff.errors import BadDataError

__all__ = ["TemplateHit", "parse_hhr", "read_hhr"]


@dataclass(frozen=True, eq=False)
class TemplateHit:
    """One aligned PDB chain; columns are those of the pairwise alignment."""

    index: int
    """Rank in the file, from 1."""
    entry_id: str
    """Lower case, e.g. "6kwc"."""
    author_id: str
    """Chain of the entry, author naming."""
    description: str
    """The hit's header line, without '>'."""
    aligned_columns: int
    """Aligned_cols as HHsearch counts them (match states)."""
    sum_probs: float
    """Sum of the posterior probabilities of the aligned pairs; 0 where the file has none."""
    query: str
    """Query row, '-' at gaps."""
    hit_sequence: str
    """Hit row, '-' at gaps."""
    query_indices: Int64[np.ndarray, " columns"]
    """0-based position in the query of each column; -1 at gaps."""
    hit_indices: Int64[np.ndarray, " columns"]
    """0-based position in the hit's full sequence of each column; -1 at gaps."""
    source: str = ""
    """The file it stands in."""


_NAME = re.compile(r"([A-Za-z0-9]{4})_([A-Za-z0-9.]+)")
_COLUMNS = re.compile(r"Aligned_cols=\s*(\d+)")
_PROBABILITIES = re.compile(r"Sum_probs=\s*(\d+(?:\.\d*)?)")
# "Q " or "T " and a name make 17 characters; then come start, row, end and (length).
_NAME_WIDTH = 17
_ROW = re.compile(r"\s*(\d{1,9})\s+([A-Z-]+)\s+(\d{1,9})\s+\(\d+\)\s*")
_REMARKS = ("ss_dssp", "ss_pred", "ss_conf", "sa_dssp", "Consensus")
_MEND = "run HHsearch or fetch the file again: it may be cut short"


@dataclass
class _Side:
    """One side of a pairwise alignment while its blocks are read."""

    rows: list[str] = field(default_factory=list)
    indices: list[np.ndarray] = field(default_factory=list)

    def add(self, line: str, source: str, number: int) -> None:
        match = _ROW.fullmatch(line[_NAME_WIDTH:])
        if match is None:
            raise BadDataError(
                f"not 'start row end (length)': {line[:60]!r}",
                source=source,
                line=number,
                mend=_MEND,
            )
        start, row, end = int(match[1]), match[2], int(match[3])
        residue = np.frombuffer(row.encode(), np.uint8) != ord("-")
        if start < 1 or end - start + 1 != residue.sum():
            raise BadDataError(
                f"residues {start} to {end} and {residue.sum()} letters",
                source=source,
                line=number,
                mend=_MEND,
            )
        self.rows.append(row)
        self.indices.append(np.where(residue, start - 2 + np.cumsum(residue), -1).astype(np.int64))

    def joined(self) -> np.ndarray:
        return np.concatenate([np.empty(0, np.int64), *self.indices])


def read_hhr(path: str | Path) -> tuple[TemplateHit, ...]:
    """The hits in a file (.gz accepted); as `parse_hhr`."""
    return parse_hhr(read_text(path), source=str(path))


def parse_hhr(text: str, *, source: str) -> tuple[TemplateHit, ...]:
    """Hits in the order of the file; none is an answer too.

    Errors: BadDataError, with the line, for a file that does not begin as HHsearch's do, a hit
    that is not named ENTRY_CHAIN, and alignments whose two rows do not fit.
    """
    lines = text.split("\n")
    if not any(line.startswith("Query ") for line in lines[:5]):
        raise BadDataError(
            "does not begin with 'Query': not an HHsearch result", source=source, line=1, mend=_MEND
        )
    begins = [at for at, line in enumerate(lines) if line.startswith("No ")]
    ends = [*begins[1:], len(lines)]
    return tuple(
        _hit(lines[begin:end], source, begin + 1)
        for begin, end in zip(begins, ends, strict=False)  # none at all has an end and no beginning
    )


def _hit(lines: Sequence[str], source: str, number: int) -> TemplateHit:
    """One hit: 'No 7', '>ENTRY_CHAIN …', a line of scores, then blocks of aligned rows."""
    rank = re.fullmatch(r"No (\d{1,9})\s*", lines[0])
    name = _NAME.match(lines[1][1:]) if len(lines) > 1 and lines[1].startswith(">") else None
    columns = _COLUMNS.search(lines[2]) if len(lines) > 2 else None
    if rank is None or name is None or columns is None:
        at = 0 if rank is None else 1 if name is None else 2
        wanted = ("'No RANK'", "'>ENTRY_CHAIN', a chain of the PDB", "a line with Aligned_cols=")
        raise BadDataError(
            f"a hit lacks {wanted[at]}",
            source=source,
            line=number + at,
            mend="search a database of PDB chains (pdb70), or fetch the file again",
        )
    query, hit = _sides(lines[3:], source, number + 3)
    query_indices, hit_indices = query.joined(), hit.joined()
    pairs = int(((query_indices >= 0) & (hit_indices >= 0)).sum())
    if pairs == 0 or pairs < int(columns[1]):
        raise BadDataError(
            f"{pairs} aligned pairs of the {columns[1]} announced",
            source=source,
            line=number,
            mend=_MEND,
        )
    probabilities = _PROBABILITIES.search(lines[2])
    return TemplateHit(
        index=int(rank[1]),
        entry_id=name[1].lower(),
        author_id=name[2],
        description=lines[1][1:].strip(),
        aligned_columns=int(columns[1]),
        sum_probs=float(probabilities[1]) if probabilities else 0.0,
        query="".join(query.rows),
        hit_sequence="".join(hit.rows),
        query_indices=query_indices,
        hit_indices=hit_indices,
        source=source,
    )


def _sides(lines: Sequence[str], source: str, number: int) -> tuple[_Side, _Side]:
    """The query's and the hit's rows, block after block."""
    sides = {"Q ": _Side(), "T ": _Side()}
    for at, line in enumerate(lines, start=number):
        side = sides.get(line[:2])
        if side is not None and not line[2:].startswith(_REMARKS):
            side.add(line, source, at)
    query, hit = sides.values()
    if [len(row) for row in query.rows] != [len(row) for row in hit.rows]:
        raise BadDataError(
            "the rows of query and hit do not fit", source=source, line=number, mend=_MEND
        )
    return query, hit
