"""The published numbers, where they are at hand."""

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def published(real_data: Path) -> dict[str, Any]:
    return json.loads((real_data / "af2_chemistry.json").read_text())
