"""Running a benchmark's command as a user does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "benchmarks"


def printed(name: str, *arguments: str) -> tuple[list[str], dict]:
    """What `python benchmarks/NAME.py ARGUMENTS` prints: its lines, and the last one read."""
    command = [sys.executable, str(FOLDER / f"{name}.py"), *arguments]
    run = subprocess.run(command, check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    return lines, json.loads(lines[-1])
