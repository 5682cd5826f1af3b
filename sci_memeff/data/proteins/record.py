"""A protein before anything random happens to it: all that its files say, as arrays.

s counts rows of the alignment, t templates, n residues.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int32, UInt8

__all__ = ["Alignment", "Protein", "Target", "Templates", "no_templates"]


class Alignment(NamedTuple):
    """Tokens of `chemistry.MSA_ALPHABET` and deletions before each column; row 0 is the query."""

    msa: UInt8[np.ndarray, "s n"]
    deletions: Int32[np.ndarray, "s n"]


class Templates(NamedTuple):
    """Aligned template structures, best first; Å."""

    aatype: UInt8[np.ndarray, "t n"]
    """Tokens of `chemistry.MSA_ALPHABET`; gap where nothing is aligned."""
    positions: Float32[np.ndarray, "t n 37 3"]
    """Centred on each template's own atoms; zero where `mask` is False."""
    mask: Bool[np.ndarray, "t n 37"]
    sum_probs: Float32[np.ndarray, "t 1"]
    """HHsearch's sum of posterior probabilities."""


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


def no_templates(num_residues: int) -> Templates:
    """The templates of a protein that has none."""
    return Templates(
        np.zeros((0, num_residues), np.uint8),
        np.zeros((0, num_residues, 37, 3), np.float32),
        np.zeros((0, num_residues, 37), bool),
        np.zeros((0, 1), np.float32),
    )
