"""What a dataset gives for a number: an example, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Example", "Skipped"]


@dataclass(frozen=True, eq=False)
class Example:
    """The features of one protein, as `schema.AXES` lists them; the last axis of each is passes.

    Features that are the same in every pass are views that repeat one array, and read-only.
    """

    name: str
    """ENTRY_CHAIN."""
    features: dict[str, np.ndarray]


@dataclass(frozen=True)
class Skipped:
    """A sample that cannot be used, for the trainer to count and to name."""

    name: str
    reason: str
