"""What every test shares: one thread per worker, and the real proteins where they are at hand."""

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real structures and alignments that SCI_MEMEFF_DATA names."""
    folder = os.environ.get("SCI_MEMEFF_DATA")
    if not folder:
        pytest.skip("SCI_MEMEFF_DATA names no folder of real proteins")
    return Path(folder)
