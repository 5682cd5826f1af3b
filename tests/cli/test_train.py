"""`sci-memeff train` from end to end, on the bundled proteins."""

import json
import os
import signal

import pytest
from typer.testing import CliRunner

from sci_memeff import Plan, Rule
from sci_memeff.checkpointing import in_segments
from sci_memeff.cli.main import app
from sci_memeff.planning import planner
from sci_memeff.training import loop


def train(*args: object):
    return CliRunner().invoke(app, ["train", *map(str, args)])


@pytest.fixture(scope="module")
def finished(tmp_path_factory, data, tiny):
    out = tmp_path_factory.mktemp("train") / "run"
    result = train("--data", data, "--out", out, "--config", tiny, "--steps", 3, "--device", "cpu")
    assert result.exit_code == 0, result.output
    return out, result.stdout


def test_last_line_is_the_summary(finished):
    out, stdout = finished
    summary = json.loads(stdout.splitlines()[-1])
    assert summary == json.loads((out / "summary.json").read_text())
    assert summary["steps"] == 3
    assert {"lddt_ca", "loss", "seconds"} <= summary.keys()


def test_plain_lines_and_a_table_where_there_is_no_terminal(finished):
    stdout = finished[1]
    assert "training demo:" in stdout
    assert "step      3/3  loss" in stdout
    assert "s/step  peak" in stdout
    assert "1ubq_A" in stdout
    assert "\x1b" not in stdout


def test_resumed_run_needs_no_settings(finished, data):
    out, _ = finished
    result = train("--data", data, "--out", out, "--resume", "--steps", 4)
    assert result.exit_code == 0, result.output
    assert "resumed from" in result.stdout
    assert "step-00000003" in result.stdout
    assert json.loads(result.stdout.splitlines()[-1])["steps"] == 4


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--resume"], "--resume does not say which run"),
        (["--resume", "--out", "nowhere"], "nowhere holds no run"),
        (["--device", "tpu:9"], "--device 'tpu:9' is no"),
        (["--device", "mps"], "--device 'mps' is not supported"),
        (["--device", "cuda:99"], "CUDA devices"),
        (["--config", "nowhere.yaml"], "nowhere.yaml is not a YAML file"),
        (["--weights", "nowhere"], "nowhere: there is no such file or folder"),
        (["--weights", __file__], "weights are told by their ending"),
        (["--out", f"{__file__}/run"], "run cannot be made"),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path, data, args, message):
    out = [] if "--out" in args or "--resume" in args else ["--out", tmp_path / "run"]
    result = train("--data", data, *out, *args)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "mend:" in result.stderr
    assert not (tmp_path / "run").exists()


def test_resuming_under_another_seed_is_refused(finished, data):
    result = train("--data", data, "--out", finished[0], "--resume", "--seed", 9)
    assert result.exit_code == 2
    assert "run.seed: 0 there, 9 here" in result.stderr


def test_cache_that_cannot_be_written_is_refused(tmp_path, data):
    settings = tmp_path / "cached.yaml"
    settings.write_text(f"run: {{cache_dir: {__file__}/cache}}")
    result = train("--data", data, "--out", tmp_path / "run", "--config", settings)
    assert result.exit_code == 2
    assert "mend: set run.cache_dir to a folder" in result.stderr
    assert not (tmp_path / "run").exists()


def test_run_is_not_overwritten(finished, data):
    result = train("--data", data, "--out", finished[0])
    assert result.exit_code == 2
    assert "holds a run already" in result.stderr


def test_stopped_run_exits_with_the_signal_s_code(tmp_path, data, tiny, monkeypatch):
    class Stops(loop.Records):
        def step(self, report) -> None:
            super().step(report)
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(loop, "Records", Stops)
    result = train("--data", data, "--out", tmp_path, "--config", tiny, "--steps", 3)
    assert result.exit_code == 143
    assert "go on with --resume" in result.stdout
    assert (tmp_path / "checkpoints" / "step-00000001").is_dir()


def test_folder_is_chosen_where_none_is_named(tmp_path, data, tiny, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "demo").mkdir(parents=True)
    result = train("--data", data, "--config", tiny, "--steps", 1)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "runs" / "demo-2" / "summary.json").exists()


def test_preset_and_file_of_another_preset(data, tmp_path):
    settings = tmp_path / "settings.yaml"
    settings.write_text("name: finetuning\n")
    result = train("--data", data, "--preset", "demo", "--config", settings)
    assert result.exit_code == 2
    assert "--preset is demo" in result.stderr
    assert "leave out one of the two" in result.stderr


def test_a_budget_and_a_verification_of_it(tmp_path, data, tiny, monkeypatch):
    """The planner is played: it takes a minute."""
    rule = Rule(where="model.evoformer", seam="iterate", use=in_segments(1))
    asked = []

    def played(*given, **options):
        asked.append(options["budget"])
        return Plan(rules=(rule,))

    monkeypatch.setattr(planner, "plan", played)
    out = tmp_path / "run"
    small = ("--data", data, "--config", tiny, "--device", "cpu", "--steps", 1)
    result = train(*small, "--out", out, "--budget", "1GiB", "--verify")
    assert result.exit_code == 0, result.output
    assert asked == ["1GiB"]
    assert "planning for 1GiB" in result.stdout
    assert "verified: the loss and" in result.stdout
    assert Plan.load(out / "plan.json") == Plan(rules=(rule,))
    again = train("--data", data, "--out", out, "--resume", "--steps", 2, "--device", "cpu")
    assert again.exit_code == 0, again.output
    assert asked == ["1GiB"]
    assert "going on with the plan in" in again.stdout
