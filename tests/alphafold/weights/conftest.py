from __future__ import annotations

from pathlib import Path

import pytest

from sci_memeff.alphafold.model import AlphaFold

from .files import CONFIG, written
from .layout import Arrays, params


@pytest.fixture
def model() -> AlphaFold:
    return AlphaFold(CONFIG)


@pytest.fixture(scope="session")
def arrays() -> Arrays:
    return params(CONFIG)


@pytest.fixture
def file(tmp_path, arrays) -> Path:
    return written(tmp_path / "params_model_1_ptm.npz", arrays)
