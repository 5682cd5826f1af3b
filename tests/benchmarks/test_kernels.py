"""The command that compares the forms of attention, at a size of no interest."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

COMMAND = Path(__file__).parents[2] / "benchmarks" / "kernels.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(COMMAND), "--device", "cpu", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_each_form_has_a_line_and_a_row_of_figures():
    forms = ("streaming", "blocked", "torch sdpa, a row at a time")
    shapes = ("3,2,17,8", "2,2,12,8,0")
    done = run("--shapes", *shapes, "--dtypes", "fp32", "bf16", "--forms", *forms)
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    rows = json.loads(last)["rows"]
    assert len(rows) == len(shapes) * 2 * (1 + len(forms))
    for form in ("reference", *forms):
        assert sum(line.startswith(form) for line in lines) >= len(shapes) * 2
    for row in rows:
        is_half, is_forward_only = row["dtype"] == "bf16", row["form"] == forms[-1]
        assert 0 < row["error"] < (2e-2 if is_half else 1e-6)
        assert row["forward_ms"] > 0
        assert (row["gradient_error"] is None) == is_forward_only
        if not is_forward_only:
            assert 0 < row["gradient_error"] < (2e-2 if is_half else 2e-6)
            assert row["bytes"] > 0
            assert row["ratio"] == 1 if row["form"] == "reference" else row["ratio"] > 0


def test_a_form_that_is_not_there_is_named_beside_those_that_are():
    done = run("--forms", "flash")
    assert done.returncode
    assert "no form 'flash' here; there are: reference, streaming, blocked" in done.stderr
