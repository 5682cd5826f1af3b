"""Running a benchmark's command as a user does, or importing from beside it."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).parents[2] / "benchmarks"


def printed(name: str, *arguments: str) -> tuple[list[str], dict]:
    """What `python benchmarks/NAME.py ARGUMENTS` prints: its lines, and the last one read."""
    command = [sys.executable, str(FOLDER / f"{name}.py"), *arguments]
    run = subprocess.run(command, check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    return lines, json.loads(lines[-1])


def module(name: str) -> ModuleType:
    """What a benchmark imports from beside it as `name`; no package holds them."""
    spec = spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    found = module_from_spec(spec)
    spec.loader.exec_module(found)
    return found
