"""One predicted protein as plain arrays: what is scored, written to files and drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor, nn

from sci_memeff.chemistry import ATOM37_INDEX, RESTYPES
from sci_memeff.data.example import Example
from sci_memeff.training.batch import Batch, last_pass, to_batch

__all__ = ["CA", "Prediction", "predict", "prediction"]

CA = ATOM37_INDEX["CA"]


@dataclass(frozen=True, eq=False)
class Prediction:
    """Positions of n residues in Å; atoms in the order of `sci_memeff.chemistry.ATOM37`."""

    name: str
    sequence: str
    """One letter per residue, X where unknown."""
    residue_index: Int64[np.ndarray, " n"]
    """Position of each residue in the full sequence, from 0."""
    positions: Float32[np.ndarray, "n 37 3"]
    mask: Bool[np.ndarray, "n 37"]
    """Atoms that the residues have."""
    plddt: Float32[np.ndarray, " n"]
    """Confidence, 0 to 100."""
    aligned_error: Float32[np.ndarray, "n n"] | None = None
    """Predicted aligned error, Å; None from a model without that head."""
    ptm: float | None = None
    """Predicted TM-score, 0 to 1."""
    experiment: Float32[np.ndarray, "n 37 3"] | None = None
    """The experimental positions; None where there are none."""
    experiment_mask: Bool[np.ndarray, "n 37"] | None = None


@torch.no_grad()
def predict(
    model: nn.Module, example: Example, device: torch.device
) -> tuple[dict[str, Any], Batch]:
    """Outputs of `model` in evaluation mode, and the features of the last pass."""
    model.eval()
    batch = to_batch(example, device)
    return model(batch), last_pass(batch)


def prediction(name: str, outputs: Mapping[str, Tensor], features: Batch) -> Prediction:
    """The first protein of a batch, without its padding, on the host."""
    real = features["seq_mask"][0].bool().cpu().numpy()

    def rows(tensor: Tensor) -> np.ndarray:
        return tensor[0].detach().cpu().float().numpy()[real]

    error, ptm = outputs.get("predicted_aligned_error"), outputs.get("ptm")
    known = "all_atom_positions" in features
    letters = RESTYPES + "X"
    return Prediction(
        name=name,
        sequence="".join(letters[int(k)] for k in rows(features["aatype"])),
        residue_index=rows(features["residue_index"]).astype(np.int64),
        positions=rows(outputs["final_atom_positions"]).astype(np.float32),
        mask=rows(outputs["final_atom_mask"]) > 0.5,
        plddt=rows(outputs["plddt"]).astype(np.float32),
        aligned_error=None if error is None else rows(error)[:, real].astype(np.float32),
        ptm=None if ptm is None else float(ptm.reshape(-1)[0]),
        experiment=rows(features["all_atom_positions"]).astype(np.float32) if known else None,
        experiment_mask=rows(features["all_atom_mask"]) > 0.5 if known else None,
    )
