"""How near a prediction is to the experimental structure, from outputs and features."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from sci_memeff.alphafold.metrics import lddt_ca

__all__ = ["known_mean", "mean_lddt_ca"]


def known_mean(values: Iterable[float]) -> float:
    """The mean of those that are finite, NaN where none is: a protein may have no score."""
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan


@torch.no_grad()
def mean_lddt_ca(outputs: Mapping[str, Tensor], features: Mapping[str, Tensor]) -> float:
    """Mean lDDT-Cα of a batch, 0 to 1; proteins without resolved Cα are no part, NaN if all are."""
    values = lddt_ca(
        outputs["final_atom_positions"], features["all_atom_positions"], features["all_atom_mask"]
    )
    return known_mean(values.reshape(-1).tolist())
