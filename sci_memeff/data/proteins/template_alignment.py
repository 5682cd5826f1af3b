"""From the columns of a search hit to residues of the structure it stands for.

The search ran on a copy of the chain's sequence, often of its resolved part or of an older
version, so the hit is looked up in the structure's sequences, and aligned anew if it is not there.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from sci_memeff.data.formats.hhr import TemplateHit
from sci_memeff.data.formats.structure import Chain, Structure

__all__ = ["AlignedChain", "align_to_query", "query_start"]

_MIN_IDENTITY = 0.9


class AlignedChain(NamedTuple):
    """Aligned pairs: residue `query_indices[k]` has `letters[k]`, `chain_indices[k]` of `chain`."""

    chain: Chain
    query_indices: Int64[np.ndarray, " pairs"]
    chain_indices: Int64[np.ndarray, " pairs"]
    letters: str


def align_to_query(hit: TemplateHit, sequence: str, structure: Structure) -> AlignedChain:
    """Place the hit's columns on a chain of `structure`; ValueError says why it cannot be.

    Tried in turn: the named chain, then every chain, holds the hit's letters as they are; with X
    for any letter; else the named chain is realigned and must be 90 % identical.
    """
    query_indices, hit_indices = _aligned_pairs(hit, sequence)
    letters = hit.hit_sequence.replace("-", "")
    chains = [chain for chain in structure.chains.values() if chain.author_id == hit.author_id]
    chains += [chain for chain in structure.chains.values() if chain.author_id != hit.author_id]
    for chain in chains:
        if (offset := chain.sequence.find(letters)) >= 0:
            return _place(chain, query_indices, hit_indices, letters, offset)
    for chain in chains:
        if (offset := _find_with_unknown(letters, chain.sequence)) >= 0:
            return _place(chain, query_indices, hit_indices, letters, offset)
    chain = structure.chains.get(hit.author_id)
    if chain is None and len(chains) == 1:
        chain = chains[0]
    if chain is None:
        raise ValueError(f"the structure has no chain {hit.author_id} and none of its sequence")
    to_chain = _realign(letters, chain.sequence)
    there = to_chain[hit_indices] >= 0
    chain_indices = to_chain[hit_indices][there]
    return AlignedChain(
        chain,
        query_indices[there],
        chain_indices,
        "".join(chain.sequence[i] for i in chain_indices),
    )


def query_start(hit: TemplateHit, sequence: str) -> int:
    """Residue of `sequence`, from 0, where the hit's query row begins; -1 if it is of another.

    The row's own numbering is believed where it fits, X on either side being any letter.
    """
    row = hit.query.replace("-", "")
    start = int(hit.query_indices[hit.query_indices >= 0].min(initial=0))
    if _find_with_unknown(row, sequence[start : start + len(row)]) == 0:
        return start
    return _find_with_unknown(row, sequence)


def _place(
    chain: Chain, query_indices: np.ndarray, hit_indices: np.ndarray, letters: str, offset: int
) -> AlignedChain:
    aligned = "".join(letters[index] for index in hit_indices)
    return AlignedChain(chain, query_indices, hit_indices + offset, aligned)


def _aligned_pairs(hit: TemplateHit, sequence: str) -> tuple[np.ndarray, np.ndarray]:
    """Residues of the query, and letters of the hit without its gaps, that share a column."""
    start = query_start(hit, sequence)
    if start < 0:
        raise ValueError("the query of the search is not the chain's sequence")
    in_query = np.cumsum([letter != "-" for letter in hit.query]) - 1 + start
    in_hit = np.cumsum([letter != "-" for letter in hit.hit_sequence]) - 1
    both = [a != "-" and b != "-" for a, b in zip(hit.query, hit.hit_sequence, strict=True)]
    return in_query[both], in_hit[both]


def _find_with_unknown(letters: str, sequence: str) -> int:
    """Where `letters` stand in `sequence`, X on either side being any letter; -1 if nowhere."""
    if len(letters) > len(sequence):
        return -1
    wanted = np.frombuffer(letters.encode("ascii"), np.uint8)
    codes = np.frombuffer(sequence.encode("ascii"), np.uint8)
    windows = np.lib.stride_tricks.sliding_window_view(codes, len(wanted))
    unknown = ord("X")
    equal = (windows == wanted) | (windows == unknown) | (wanted == unknown)
    places = np.flatnonzero(equal.all(axis=1))
    return int(places[0]) if len(places) else -1


def _realign(letters: str, sequence: str) -> Int64[np.ndarray, " letters"]:
    """Index into `sequence` of each letter, -1 where it has none; ValueError if they differ."""
    from Bio.Align import PairwiseAligner

    aligner = PairwiseAligner(
        mode="local",
        match_score=2.0,
        mismatch_score=-1.0,
        open_gap_score=-5.0,
        extend_gap_score=-0.5,
    )
    to_sequence = np.full(len(letters), -1, dtype=np.int64)
    same = 0
    best = next(iter(aligner.align(sequence, letters)), None)
    if best is not None:
        for (start, end), (first, _) in zip(*best.aligned, strict=True):
            to_sequence[first : first + end - start] = np.arange(start, end)
        pairs = zip(letters, to_sequence, strict=True)
        same = sum(index >= 0 and letter == sequence[index] for letter, index in pairs)
    shorter = min(len(letters), len(sequence))
    if same < _MIN_IDENTITY * shorter:
        raise ValueError(f"only {same} of {shorter} residues are those of the structure")
    return to_sequence
