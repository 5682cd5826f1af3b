"""How near a prediction is to the experimental structure, from outputs and features."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sci_memeff.alphafold.metrics import lddt_ca

__all__ = ["mean_lddt_ca"]


@torch.no_grad()
def mean_lddt_ca(outputs: Mapping[str, Tensor], features: Mapping[str, Tensor]) -> float:
    """Mean lDDT-Cα of a batch, 0 to 1; NaN where a protein has no resolved Cα."""
    values = lddt_ca(
        outputs["final_atom_positions"], features["all_atom_positions"], features["all_atom_mask"]
    )
    return float(values.mean())
