"""Which rows of an alignment one pass sees: block deletion, cluster centres, extra rows.

AlphaFold 2, Supplement 1.2.6 (Algorithm 1) and 1.2.7. Row 0, the query, is always kept and always
the first centre. s counts rows.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64

__all__ = ["delete_blocks", "sample_rows", "split_rows"]


def delete_blocks(
    num_rows: int, num_blocks: int, block_fraction: float, rng: np.random.Generator
) -> Int64[np.ndarray, " kept"]:
    """Rows that are left when blocks of ⌊fraction·rows⌋ neighbours are taken out (Algorithm 1).

    Blocks may overlap and run over the end; neighbours in a search result are relatives, so whole
    families go at once.
    """
    kept = np.ones(num_rows, dtype=bool)
    size = int(np.floor(num_rows * block_fraction))
    if num_rows > 1:
        for start in rng.integers(1, num_rows, size=num_blocks):
            kept[start : start + size] = False
    return np.flatnonzero(kept)


def sample_rows(
    rows: Int64[np.ndarray, " s"], max_rows: int, rng: np.random.Generator
) -> Int64[np.ndarray, " kept"]:
    """The first of `rows` and up to max_rows − 1 others, without replacement, in random order."""
    return np.concatenate([rows[:1], rng.permutation(rows[1:])[: max_rows - 1]])


def split_rows(
    rows: Int64[np.ndarray, " s"], max_clusters: int, rng: np.random.Generator
) -> tuple[Int64[np.ndarray, " centres"], Int64[np.ndarray, " others"]]:
    """Cluster centres, the first of `rows` before all, and every other row in random order."""
    shuffled = sample_rows(rows, len(rows), rng)
    return shuffled[:max_clusters], shuffled[max_clusters:]
