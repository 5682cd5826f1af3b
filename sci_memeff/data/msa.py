"""What a multiple sequence alignment is, once read: aligned rows and the deletions before them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32

__all__ = ["Msa"]


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
