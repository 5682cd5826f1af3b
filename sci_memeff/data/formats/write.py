"""Structures to files, each written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from sci_memeff.data.files import write_atomically
from sci_memeff.data.formats.mmcif_text import format_mmcif
from sci_memeff.data.formats.pdb_text import format_pdb
from sci_memeff.data.formats.structure import Chain, Structure

__all__ = ["predicted", "write_mmcif", "write_pdb"]


def predicted(
    name: str,
    sequence: str,
    positions: Float[np.ndarray, "n 37 3"],
    mask: Bool[np.ndarray, "n 37"],
    plddt: Float[np.ndarray, " n"],
) -> Structure:
    """A model's prediction (Å, pLDDT 0 to 100 in the B-factors) as a structure of one chain A."""
    mask = mask.astype(bool)
    chain = Chain(
        author_id="A",
        label_id="A",
        sequence=sequence,
        positions=np.where(mask[..., None], positions, 0).astype(np.float32),
        mask=mask,
        b_factors=np.where(mask, plddt[:, None], 0).astype(np.float32),
        author_numbers=tuple(str(number) for number in range(1, len(sequence) + 1)),
    )
    return Structure(entry_id=name, chains={"A": chain}, method="THEORETICAL MODEL")


def write_mmcif(path: str | Path, structure: Structure, *, plddt: bool = False) -> Path:
    """Write `format_mmcif` to a file, whole or not at all."""
    return write_atomically(path, format_mmcif(structure, plddt=plddt))


def write_pdb(path: str | Path, structure: Structure) -> Path:
    """Write `format_pdb` to a file, whole or not at all."""
    return write_atomically(path, format_pdb(structure))
