"""Notebooks hold what their scripts say, use the public surface, and run."""

import os
import subprocess
import sys
from pathlib import Path

import jupytext
import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
SCRIPTS = sorted(FOLDER.glob("*.py"))


def test_there_are_some():
    assert [path.stem for path in SCRIPTS] == sorted(p.stem for p in FOLDER.glob("*.ipynb"))
    assert SCRIPTS


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_both_files_have_the_same_cells(script: Path):
    text, notebook = (jupytext.read(path) for path in (script, script.with_suffix(".ipynb")))
    assert [(cell.cell_type, cell.source) for cell in text.cells] == [
        (cell.cell_type, cell.source) for cell in notebook.cells
    ]


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_it_runs_in_its_short_form(script: Path):
    short = {**os.environ, "SHORT": "1", "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script)],
        capture_output=True,
        text=True,
        check=False,
        env=short,
    )
    assert done.returncode == 0, done.stderr
    assert "1 - cosine" in done.stdout
