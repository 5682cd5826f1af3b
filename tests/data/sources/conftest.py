"""A folder of small made-up proteins."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from sci_memeff.data.formats.structure import Chain, Structure
from sci_memeff.data.formats.write import write_mmcif, write_pdb


def chain(author_id: str, sequence: str) -> Chain:
    mask = np.zeros((len(sequence), 37), bool)
    mask[:, :3] = True
    positions = np.zeros((*mask.shape, 3), np.float32)
    positions[..., 0] = np.arange(len(sequence))[:, None] * 3.8
    positions[:, :3] += np.eye(3, dtype=np.float32)
    positions[~mask] = 0.0
    numbers = tuple(str(index + 1) for index in range(len(sequence)))
    b_factors = np.where(mask, 70.0, 0.0).astype(np.float32)
    return Chain(author_id, author_id, sequence, positions, mask, b_factors, numbers)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """1aaa: chains A, B (the same) and C; 2bbb: A; a prediction."""
    chains = {"A": chain("A", "ARNDC"), "B": chain("B", "ARNDC"), "C": chain("C", "QEGH")}
    first = Structure("1aaa", chains, 2.5, date(2001, 2, 3))
    write_mmcif(tmp_path / "mmcif" / "1aaa.cif", first)
    second = Structure("2bbb", {"A": chain("A", "ILKMF")}, None, date(2002, 3, 4))
    write_mmcif(tmp_path / "mmcif" / "2bbb.cif", second)
    predicted = replace(second, entry_id="ccc", resolution=None, release_date=None)
    write_pdb(tmp_path / "predicted" / "ccc.pdb", predicted)
    return tmp_path
