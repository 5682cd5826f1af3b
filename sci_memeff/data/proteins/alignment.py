"""One alignment of a chain out of the several that its searches left, as numbers.

Rows keep the order of the searches; a row whose letters were seen before, whatever its deletions,
is left out (AlphaFold 2, Supplement 1.2.4).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath

import numpy as np

from sci_memeff.chemistry import MSA_TOKEN
from sci_memeff.data.formats.msa import Msa
from sci_memeff.data.proteins.record import Alignment
from sci_memeff.errors import BadDataError

__all__ = ["merge_msas", "search_order"]

_SEARCHES = (re.compile("uniref90"), re.compile("bfd|uniclust"), re.compile("mgnify"))


def search_order(name: str) -> tuple[int, str]:
    """Sorts alignment files: UniRef90, BFD and Uniclust, MGnify, then others; these by name."""
    file = PurePath(name).name
    ranks = [rank for rank, searches in enumerate(_SEARCHES) if searches.search(file.lower())]
    return min(ranks, default=len(_SEARCHES)), file


def merge_msas(sequence: str, msas: Mapping[str, Msa]) -> Alignment:
    """Join alignments of `sequence`, keyed by file, in `search_order`; none: the query alone.

    Raises BadDataError, naming the file and the residue, where a query is not `sequence`; X on
    either side stands for any letter.
    """
    rows = [sequence]
    deletions = [np.zeros((1, len(sequence)), np.int32)]
    seen: set[str] = set()
    for name in sorted(msas, key=search_order):
        msa = msas[name]
        _check_query(msa.query, sequence, name)
        new = []
        for index, row in enumerate(msa.sequences):
            if row not in seen:
                seen.add(row)
                new.append(index)
        rows += [msa.sequences[index] for index in new]
        deletions.append(msa.deletions[new])
    if seen:  # the searches brought the query themselves
        rows, deletions = rows[1:], deletions[1:]
    letters = np.frombuffer("".join(rows).encode("latin-1", "replace"), np.uint8)
    return Alignment(
        MSA_TOKEN[letters].reshape(len(rows), len(sequence)), np.concatenate(deletions)
    )


def _check_query(query: str, sequence: str, source: str) -> None:
    pairs = enumerate(zip(query, sequence, strict=False), start=1)
    unequal = [index for index, (a, b) in pairs if a != b and "X" not in (a, b)]
    if not unequal and len(query) == len(sequence):
        return
    if unequal:
        first = unequal[0]
        where = (
            f"differs from the chain's sequence at residue {first} "
            f"({query[first - 1]} where the chain has {sequence[first - 1]})"
        )
    else:
        where = "is the beginning of the chain's sequence, or goes on after it"
    raise BadDataError(
        f"the query of the alignment {where}; it has {len(query)} residues, "
        f"the chain {len(sequence)}",
        source=source,
        mend="search with the chain's whole sequence (SEQRES, counted from 1), "
        "or take this alignment away",
    )
