"""Contiguous crops of a chain (AlphaFold 2, Supplement 1.2.8)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sci_memeff.data.features.schema import AXES, RESIDUES

__all__ = ["crop_start", "take_crop"]

Features = Mapping[str, np.ndarray]


def crop_start(length: int, crop_size: int, *, clamped: bool, rng: np.random.Generator) -> int:
    """First residue of a random crop.

    Uniform for examples with a clamped FAPE. For the others an upper bound is drawn first, which
    favours the N terminus.
    """
    last = max(length - crop_size, 0)
    if not clamped:
        last -= int(rng.integers(0, last, endpoint=True))
    return int(rng.integers(0, last, endpoint=True))


def take_crop(features: Features, start: int, crop_size: int) -> dict[str, np.ndarray]:
    """Residues `start` to `start + crop_size` of every feature that has a residue axis.

    Per-pass features may have their passes along any further axis after those of the schema.
    """
    cropped = {}
    for name, value in features.items():
        slices = tuple(
            slice(start, start + crop_size) if axis == RESIDUES else slice(None)
            for axis in AXES[name]
        )
        cropped[name] = value[slices]
    if "aatype" in cropped:
        cropped["seq_length"] = np.array(len(cropped["aatype"]), dtype=np.int64)
    return cropped
