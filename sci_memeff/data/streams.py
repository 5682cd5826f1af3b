"""Where randomness comes from: one independent stream per purpose, sample and pass.

A stream depends on nothing but its numbers, so sample k is the same whatever was drawn before it,
and a new use of randomness does not shift the old ones.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from sci_memeff.errors import BadConfigError

__all__ = ["Purpose", "stream"]


class Purpose(IntEnum):
    """What a stream is for. Never renumber: runs could not be resumed exactly."""

    RECORD = 0
    PASSES = 1
    CLAMP = 2
    CROP = 3
    TEMPLATES = 4
    BLOCKS = 5
    ROWS = 6
    MASKING = 7


def stream(seed: int, sample: int, purpose: Purpose, turn: int = 0) -> np.random.Generator:
    """The generator of that sample (from 0) for that purpose; `turn` tells apart the passes."""
    if seed < 0:
        raise BadConfigError(f"the seed is {seed}", mend="give a whole number from 0")
    return np.random.default_rng(np.random.SeedSequence((seed, sample, int(purpose), turn)))
