"""The proteins that the repository brings along."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def bundled() -> Path:
    """The folder data/ of the repository."""
    return Path(__file__).parents[2] / "data"
