"""What is known of a chain before its files are read whole."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

__all__ = ["Record", "key_of"]


@dataclass(frozen=True)
class Record:
    """One chain that could be trained on."""

    name: str
    """ENTRY_CHAIN, or the name of a prediction."""
    sequence: str
    resolution: float | None = None
    """Å."""
    release_date: date | None = None
    cluster_size: int = 1
    """Chains of its cluster, itself counted."""
    is_distillation: bool = False
    """A predicted structure."""


def key_of(name: str) -> str:
    """Entry ids are written in either case, chain ids are not."""
    entry_id, *chain = name.split("_", 1)
    return "_".join([entry_id.lower(), *chain])
