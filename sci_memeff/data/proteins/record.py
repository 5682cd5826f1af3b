"""A protein before anything random happens to it: all that its files say, as arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32

from sci_memeff.data.features.templates import Templates
from sci_memeff.data.proteins.alignment import Alignment

__all__ = ["Protein", "Target"]


@dataclass(frozen=True, eq=False)
class Target:
    """The structure to learn, in Å."""

    positions: Float32[np.ndarray, "n 37 3"]
    mask: Bool[np.ndarray, "n 37"]
    resolution: float = 0.0
    """Å; 0 where the method has none, as AlphaFold 2 writes it."""
    is_distillation: bool = False
    """Predicted, not measured."""


@dataclass(frozen=True, eq=False)
class Protein:
    """A sequence with its alignment and templates, and its structure if that is known."""

    name: str
    sequence: str
    """One letter per residue, X for those that are none of the twenty."""
    alignment: Alignment
    templates: Templates
    target: Target | None = None

    def __len__(self) -> int:
        return len(self.sequence)
