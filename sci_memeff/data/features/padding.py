"""Zeros at the end of every axis, for batches whose examples must be of one size.

Masks are features too and are padded with zeros, so padding changes no result.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sci_memeff.data.config import DataConfig
from sci_memeff.data.features.schema import AXES, CLUSTERS, EXTRA, RESIDUES, TEMPLATES

__all__ = ["axis_sizes", "pad_features"]


def axis_sizes(config: DataConfig) -> dict[str, int]:
    """The sizes that `fixed_size` pads to."""
    return {
        RESIDUES: config.crop_size,
        CLUSTERS: config.num_clusters,
        EXTRA: max(config.max_extra_msa, 1),
        TEMPLATES: max(config.max_templates, 1),
    }


def pad_features(
    features: Mapping[str, np.ndarray], sizes: Mapping[str, int]
) -> dict[str, np.ndarray]:
    """Pad every axis that `sizes` names up to its size; axes already longer stay as they are."""
    padded = {}
    for name, value in features.items():
        wanted = [sizes.get(str(axis), 0) for axis in AXES[name]]
        missing = [max(size - have, 0) for size, have in zip(wanted, value.shape, strict=False)]
        missing += [0] * (value.ndim - len(missing))
        padded[name] = np.pad(value, [(0, count) for count in missing]) if any(missing) else value
    return padded
