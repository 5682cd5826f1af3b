"""What a multiple sequence alignment is, once read: aligned rows and the deletions before them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int32, Int64, UInt8

__all__ = ["GAP", "Msa", "count_deletions", "to_rows"]

GAP = ord("-")


@dataclass(frozen=True, eq=False)
class Msa:
    """Rows over the n residues of the query, which is row 0 and has no gaps."""

    sequences: tuple[str, ...]
    """Aligned rows, each n capitals or '-'."""
    deletions: Int32[np.ndarray, "rows n"]
    """How many residues of the row are missing from the query just before each column."""
    descriptions: tuple[str, ...]
    """The header of each row, without '>'."""

    def __len__(self) -> int:
        return len(self.sequences)

    @property
    def query(self) -> str:
        """The sequence that the rows are aligned to."""
        return self.sequences[0]


def count_deletions(
    inserted: Bool[np.ndarray, " letters"],
    kept: Bool[np.ndarray, " letters"],
    starts: Int64[np.ndarray, " rows"],
) -> Int32[np.ndarray, "rows n"]:
    """How many inserted letters stand between each kept letter and the one kept before it.

    The rows lie one behind another and begin at `starts`; each must keep the same number of
    letters. What is inserted after a row's last kept letter is not counted, as in AlphaFold 2.
    """
    before = np.cumsum(inserted, dtype=np.int64)
    # a kept letter is not inserted, so its own place may be counted in
    at_kept = before[kept].reshape(len(starts), -1)
    at_start = before[starts] - inserted[starts]
    return np.diff(at_kept, axis=1, prepend=at_start[:, None]).astype(np.int32)


def to_rows(letters: UInt8[np.ndarray, "rows n"]) -> tuple[str, ...]:
    """One string for each row of ASCII codes."""
    text, width = letters.tobytes().decode("ascii"), letters.shape[1]
    return tuple(text[at : at + width] for at in range(0, len(text), width))
