"""Which search hits may serve as templates, and where their residues go.

The filters are AlphaFold 2's (Supplement 1.2.3 and its data pipeline): released early enough, not
the query's own entry, not the query itself under another name, and aligned to enough of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from sci_memeff.chemistry import ATOM37_INDEX, MSA_GAP, MSA_TOKEN
from sci_memeff.data.config import DataConfig
from sci_memeff.data.formats.hhr import TemplateHit
from sci_memeff.data.formats.structure import Chain, Structure
from sci_memeff.data.proteins.record import Templates, no_templates
from sci_memeff.data.proteins.template_alignment import align_to_query, query_start
from sci_memeff.errors import BadDataError

__all__ = ["Query", "TemplateSearch", "find_templates", "latest_date"]

_DAYS_BEFORE_QUERY = 60
_MAX_DUPLICATE_FRACTION = 0.95
_MIN_ALIGNED_FRACTION = 0.1
_MIN_HIT_LENGTH = 10
_MIN_ATOMS = 5
_MAX_NEIGHBOUR_DISTANCE = 150.0  # Å between Cα of residues in a row: refuses only the absurd

ReadStructure = Callable[[str], Structure | None]


@dataclass(frozen=True)
class Query:
    """The chain that templates are for; entry and date are None for a bare sequence."""

    sequence: str
    entry_id: str | None = None
    release_date: date | None = None


@dataclass(frozen=True, eq=False)
class TemplateSearch:
    """The templates that are usable, and why other hits are not."""

    templates: Templates
    names: tuple[str, ...]
    """ENTRY_CHAIN of each template."""
    refused: Mapping[str, str]
    """ENTRY_CHAIN to reason, of the hits that were looked at."""


class _RefusedError(Exception):
    """A hit that is no template; the message says why."""


def latest_date(query: Query, config: DataConfig) -> date | None:
    """The last day a template may have been released: the configured one, or 60 days before the
    query, whichever is earlier; None if neither is known."""
    days = [] if config.max_template_date is None else [config.max_template_date]
    if query.release_date is not None:
        days.append(query.release_date - timedelta(days=_DAYS_BEFORE_QUERY))
    return min(days, default=None)


def find_templates(
    query: Query, hits: Sequence[TemplateHit], read: ReadStructure, config: DataConfig
) -> TemplateSearch:
    """The first `max_template_hits` usable hits by sum of probabilities, as aligned structures.

    `read` gives the structure of an entry, or None where there is no file of it. Hits that cannot
    be used are refused, never fatal. Errors: BadDataError for a search with another query.
    """
    _check_searches(hits, query)
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
    names: list[str] = []
    refused: dict[str, str] = {}
    for hit in sorted(hits, key=lambda hit: -hit.sum_probs):
        if len(found) >= config.max_template_hits:
            break
        name = f"{hit.entry_id}_{hit.author_id}"
        try:
            found.append(_template(hit, query, read, latest_date(query, config)))
            names.append(name)
        except _RefusedError as reason:
            refused[name] = str(reason)
    if not found:
        return TemplateSearch(no_templates(len(query.sequence)), (), refused)
    templates = Templates(*(np.stack(values) for values in zip(*found, strict=True)))
    return TemplateSearch(templates, tuple(names), refused)


def _check_searches(hits: Sequence[TemplateHit], query: Query) -> None:
    """Refuse a file none of whose hits is aligned to this query."""
    mine = {hit.source for hit in hits if query_start(hit, query.sequence) >= 0}
    for hit in hits:
        if hit.source not in mine:
            raise BadDataError(
                f"the query of the search is another: {hit.query.replace('-', '')[:20]}… "
                "is no part of the chain's sequence",
                source=hit.source,
                mend="search with the chain's whole sequence (SEQRES), or take this file away",
            )


def _template(
    hit: TemplateHit, query: Query, read: ReadStructure, latest: date | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    _check_hit(hit, query)
    try:
        structure = read(hit.entry_id)
    except BadDataError as error:
        raise _RefusedError(error.wrong) from error
    if structure is None:
        raise _RefusedError("there is no structure file of it")
    _check_date(structure, latest)
    try:
        aligned = align_to_query(hit, query.sequence, structure)
    except ValueError as error:
        raise _RefusedError(str(error)) from error
    chain = aligned.chain
    _check_chain(chain)
    num_residues = len(query.sequence)
    aatype = np.full(num_residues, MSA_GAP, np.uint8)
    positions = np.zeros((num_residues, 37, 3), np.float32)
    mask = np.zeros((num_residues, 37), bool)
    letters = np.frombuffer(aligned.letters.encode("ascii"), np.uint8)
    aatype[aligned.query_indices] = MSA_TOKEN[letters]
    mask[aligned.query_indices] = chain.mask[aligned.chain_indices]
    centre = chain.positions[chain.mask].mean(axis=0, dtype=np.float64).astype(np.float32)
    positions[aligned.query_indices] = chain.positions[aligned.chain_indices] - centre
    positions[~mask] = 0.0
    if mask.sum() < _MIN_ATOMS:
        raise _RefusedError("fewer than five of its aligned atoms are known")
    return aatype, positions, mask, np.array([hit.sum_probs], np.float32)


def _check_hit(hit: TemplateHit, query: Query) -> None:
    """Refuse on what the search result alone tells."""
    length = len(query.sequence)
    letters = hit.hit_sequence.replace("-", "")
    if query.entry_id is not None and hit.entry_id.lower() == query.entry_id.lower():
        raise _RefusedError("it is the query's own entry")
    if hit.aligned_columns <= _MIN_ALIGNED_FRACTION * length:
        raise _RefusedError(f"only {hit.aligned_columns} of {length} residues are aligned")
    if letters in query.sequence and len(letters) > _MAX_DUPLICATE_FRACTION * length:
        raise _RefusedError("it is the query itself, or nearly all of it")
    if len(letters) < _MIN_HIT_LENGTH:
        raise _RefusedError(f"it is only {len(letters)} residues long")


def _check_date(structure: Structure, latest: date | None) -> None:
    if latest is None:
        return
    if structure.release_date is None:
        raise _RefusedError(f"its release date is not known, and {latest} is the last allowed")
    if structure.release_date > latest:
        raise _RefusedError(f"released {structure.release_date}, after {latest}")


def _check_chain(chain: Chain) -> None:
    alpha = ATOM37_INDEX["CA"]
    known = chain.mask[:, alpha]
    steps = np.linalg.norm(np.diff(chain.positions[:, alpha], axis=0), axis=-1)
    if not chain.mask.any():
        raise _RefusedError("none of its atoms are known")
    if (steps[known[1:] & known[:-1]] > _MAX_NEIGHBOUR_DISTANCE).any():
        raise _RefusedError("two residues in a row are more than 150 Å apart")
