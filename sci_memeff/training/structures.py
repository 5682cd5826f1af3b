"""A prediction on disk: mmCIF and PDB with pLDDT as B-factors, and the confidences as JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from sci_memeff.data.files import write_atomically
from sci_memeff.data.formats.structure import Structure
from sci_memeff.data.formats.write import predicted, write_mmcif, write_pdb
from sci_memeff.training.prediction import Prediction

__all__ = ["structure", "write_confidence", "write_structures"]


def structure(prediction: Prediction) -> Structure:
    """The prediction as chain A; author numbers count the full sequence from 1, crops included."""
    p = prediction
    whole = predicted(p.name, p.sequence, p.positions, p.mask, p.plddt)
    numbers = tuple(str(k + 1) for k in p.residue_index)
    chains = {name: replace(c, author_numbers=numbers) for name, c in whole.chains.items()}
    return replace(whole, chains=chains)


def write_structures(folder: Path, prediction: Prediction) -> tuple[Path, Path]:
    """NAME.cif and NAME.pdb in `folder`, each atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    found = structure(prediction)
    return (
        write_mmcif(folder / f"{prediction.name}.cif", found, plddt=True),
        write_pdb(folder / f"{prediction.name}.pdb", found),
    )


def write_confidence(path: Path, prediction: Prediction) -> Path:
    """pLDDT per residue and, where the model has them, the aligned errors in Å and the pTM."""
    content: dict[str, object] = {"plddt": [round(float(v), 2) for v in prediction.plddt]}
    if prediction.ptm is not None:
        content["ptm"] = round(prediction.ptm, 4)
    if prediction.aligned_error is not None:
        rounded = np.round(prediction.aligned_error.astype(float), 2)
        content["predicted_aligned_error"] = rounded.tolist()
    return write_atomically(path, json.dumps(content) + "\n")
