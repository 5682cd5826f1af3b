"""Which chains are trained on (AlphaFold 2, Supplement 1.2.5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from sci_memeff.data.config import DataConfig
from sci_memeff.data.sources.record import Record

__all__ = ["refusal", "split_records"]


def refusal(record: Record, config: DataConfig) -> str | None:
    """Why the chain is not trained on; None if it is."""
    length = len(record.sequence)
    if record.resolution is not None and record.resolution >= config.max_resolution:
        return f"its resolution is {record.resolution:g} Å, not below {config.max_resolution:g}"
    if length < config.min_length:
        return f"it has {length} residues, fewer than {config.min_length}"
    if config.max_length is not None and length > config.max_length:
        return f"it has {length} residues, more than {config.max_length}"
    letter, count = Counter(record.sequence).most_common(1)[0]
    if count > config.max_single_residue_fraction * length:
        return f"{count} of its {length} residues are {letter}"
    latest = config.max_release_date
    if latest is not None and not record.is_distillation:
        if record.release_date is None:
            return f"its release date is not known, and {latest} is the last allowed"
        if record.release_date > latest:
            return f"released {record.release_date}, after {latest}"
    return None


def split_records(
    records: Iterable[Record], config: DataConfig
) -> tuple[list[Record], dict[str, str]]:
    """The chains to train on; and by name why each other one is not among them."""
    kept, dropped = [], {}
    for record in records:
        reason = refusal(record, config)
        if reason is None:
            kept.append(record)
        else:
            dropped[record.name] = reason
    return kept, dropped
