"""Run folders: which are taken, which can be written."""

import json
import os

import pytest

from sci_memeff.errors import BadConfigError
from sci_memeff.training.folder import RunFolder, Summary, make_folder, next_free


def test_folder_that_may_not_be_written_is_refused(tmp_path, monkeypatch):
    make_folder(tmp_path / "a" / "b", mend="another")
    assert (tmp_path / "a" / "b").is_dir()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(BadConfigError, match=r"(?s)b cannot be written to.*mend: another"):
        make_folder(tmp_path / "a" / "b", mend="another")


def test_next_free_counts_on(tmp_path):
    wanted = tmp_path / "demo"
    assert next_free(wanted) == wanted
    wanted.mkdir()
    (tmp_path / "demo-2").touch()
    assert next_free(wanted) == tmp_path / "demo-3"


@pytest.mark.parametrize("name", ["config.yaml", "checkpoints"])
def test_folder_with_a_part_of_a_run_is_no_new_one(tmp_path, name):
    folder = RunFolder(tmp_path)
    folder.must_be_new()
    (tmp_path / name).mkdir()
    with pytest.raises(BadConfigError, match=r"(?s)holds a run already.*add --resume"):
        folder.must_be_new()


def test_summary_is_one_line_of_json(tmp_path):
    summary = Summary(None, 2.5, 1.0, 3, 0, 1, 0, 1000)
    RunFolder(tmp_path).save_summary(summary)
    (line,) = (tmp_path / "summary.json").read_text().splitlines()
    found = json.loads(line)
    assert list(found)[:4] == ["lddt_ca", "loss", "seconds", "steps"]
    assert (found["lddt_ca"], found["loss"], found["steps"]) == (None, 2.5, 3)
