"""The hidden letters of the masked-MSA task (AlphaFold 2, Supplement 1.2.7).

A masked letter is replaced by one drawn uniformly from the twenty amino acids, by one drawn from
the column's profile, by itself, or, with what probability is left, by the mask token 22.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from sci_memeff.chemistry import MSA_ALPHABET, MSA_MASKED, RESTYPES
from sci_memeff.data.config import DataConfig

__all__ = ["MaskedMsa", "mask_msa", "msa_profile"]


class MaskedMsa(NamedTuple):
    """An alignment with letters replaced, and where it was asked to be: bool (s, n)."""

    msa: UInt8[np.ndarray, "s n"]
    masked: Bool[np.ndarray, "s n"]


def msa_profile(msa: UInt8[np.ndarray, "s n"]) -> Float[np.ndarray, "n 22"]:
    """Frequencies of the 22 tokens in each column, the gap being one of them."""
    num_rows, num_residues = msa.shape
    num_tokens = len(MSA_ALPHABET)
    column = np.arange(num_residues) * num_tokens
    counts = np.bincount((msa + column).ravel(), minlength=num_residues * num_tokens)
    return counts.reshape(num_residues, num_tokens) / num_rows


def mask_msa(
    msa: UInt8[np.ndarray, "s n"],
    profile: Float[np.ndarray, "n 22"],
    config: DataConfig,
    rng: np.random.Generator,
) -> MaskedMsa:
    """Hide a fraction of the letters, gaps included; `profile` is that of the whole alignment."""
    masked = rng.random(msa.shape) < config.masked_msa_fraction
    row, column = np.nonzero(masked)
    options = np.array(
        [
            rng.integers(len(RESTYPES), size=len(row)),
            _draw(profile[column], rng),
            msa[row, column],
            np.full(len(row), MSA_MASKED),
        ],
        dtype=np.uint8,
    )
    ways = np.cumsum([config.mask_uniform, config.mask_profile, config.mask_same])
    way = np.searchsorted(ways, rng.random(len(row)), side="right")
    replaced = msa.copy()
    replaced[row, column] = options[way, np.arange(len(row))]
    return MaskedMsa(replaced, masked)


def _draw(
    probabilities: Float[np.ndarray, "m 22"], rng: np.random.Generator
) -> UInt8[np.ndarray, " m"]:
    """One token per row of `probabilities`, which sum to one up to rounding."""
    cumulative = np.cumsum(probabilities, axis=-1)
    threshold = rng.random((len(cumulative), 1)) * cumulative[:, -1:]
    return (cumulative <= threshold).sum(axis=-1).astype(np.uint8)
