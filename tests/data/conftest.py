"""The proteins that the repository brings along."""

import shutil
from pathlib import Path

import pytest

from sci_memeff.data.sources.layout import DataFolder


@pytest.fixture(scope="session")
def bundled() -> Path:
    """The folder data/ of the repository."""
    return Path(__file__).parents[2] / "data"


@pytest.fixture
def folder(tmp_path: Path, bundled: Path) -> DataFolder:
    """1ubq_A without alignments, 2q2k_A with, in a folder of their own."""
    source = DataFolder(bundled)
    (tmp_path / "mmcif").mkdir()
    for entry_id in ("2q2k", "1ubq"):
        shutil.copy(source.mmcif_path(entry_id), tmp_path / "mmcif")
    shutil.copytree(source.alignment_dir / "2q2k_A", tmp_path / "alignments" / "2q2k_A")
    return DataFolder(tmp_path)
