"""HHsearch result files (.hhr): the template hits of a query, best first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

__all__ = ["TemplateHit"]


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
