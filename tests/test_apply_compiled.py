"""Planned models, compiled, in a process of their own: checking shapes breaks compiling."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_compiled_models():
    program = [sys.executable, "-m", "tests.compiled_nets"]
    done = subprocess.run(program, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
