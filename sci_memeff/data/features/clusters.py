"""What the rows outside an MSA's sample add to it: clusters and their summaries.

Every other row joins the cluster centre it agrees with most; a centre then carries its cluster's
profile and mean deletions (AlphaFold 2, Supplement 1.2.7). s counts centres, e other rows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64, Integer, UInt8

from sci_memeff.chemistry import MSA_GAP, NUM_MSA_TOKENS

__all__ = ["ClusterSummary", "nearest_centres", "summarise_clusters"]

_NEVER_EQUAL = np.uint8(255)  # gaps and masks agree with nothing


class ClusterSummary(NamedTuple):
    """Frequencies of the tokens in each column of a cluster, and mean deletions before it."""

    profile: Float32[np.ndarray, "s n 23"]
    deletion_mean: Float32[np.ndarray, "s n"]


def nearest_centres(
    centres: UInt8[np.ndarray, "s n"], others: UInt8[np.ndarray, "e n"]
) -> Int64[np.ndarray, " e"]:
    """Of each other row, the centre with most equal letters; of equals, the first.

    Gaps and mask tokens count as nothing. Costs s·e·n byte comparisons.
    """
    num_residues = others.shape[1]
    letters = np.where(others < MSA_GAP, others, _NEVER_EQUAL)
    columns = np.ascontiguousarray(letters.T)  # sums along the first axis are the fast ones
    count = np.min_scalar_type(num_residues)
    nearest = np.zeros(len(others), dtype=np.int64)
    most = np.zeros(len(others), dtype=count)
    for index, centre in enumerate(centres):
        agreement = np.add.reduce(columns == centre[:, None], axis=0, dtype=count)
        closer = agreement > most
        most[closer] = agreement[closer]
        nearest[closer] = index
    return nearest


def summarise_clusters(
    centres: UInt8[np.ndarray, "s n"],
    others: UInt8[np.ndarray, "e n"],
    centre_deletions: Integer[np.ndarray, "s n"],
    other_deletions: Integer[np.ndarray, "e n"],
    nearest: Int64[np.ndarray, " e"],
) -> ClusterSummary:
    """Profile and mean deletion count of each cluster, its centre included as it is shown.

    A masked letter of the centre counts as mask token, so a profile does not tell what it hides.
    """
    num_centres, num_residues = centres.shape
    size = 1.0 + np.bincount(nearest, minlength=num_centres)
    cell = np.arange(num_centres * num_residues).reshape(num_centres, num_residues)
    cells = np.concatenate([cell, cell[nearest]])
    letters = cells * NUM_MSA_TOKENS + np.concatenate([centres, others])
    counts = np.bincount(letters.ravel(), minlength=cell.size * NUM_MSA_TOKENS)
    counts = counts.reshape(num_centres, num_residues, NUM_MSA_TOKENS)
    deletions = np.bincount(
        cells.ravel(), np.concatenate([centre_deletions, other_deletions]).ravel(), cell.size
    ).reshape(num_centres, num_residues)
    return ClusterSummary(
        (counts / size[:, None, None]).astype(np.float32),
        (deletions / size[:, None]).astype(np.float32),
    )
