"""`sci-memeff calibrate`: what it writes is a target that `plan` takes."""

import json

from typer.testing import CliRunner

from sci_memeff.cli.main import app
from sci_memeff.planning.targets import load_target


def test_a_measured_target_is_planned_for(tmp_path):
    out = tmp_path / "mine.json"
    told = CliRunner().invoke(app, ["calibrate", "--device", "cpu", "--out", str(out)])
    assert told.exit_code == 0, told.output
    assert "TFLOP/s in bf16" in told.stdout
    assert f"written to {out}" in told.stdout
    target = load_target(out)
    planned = CliRunner().invoke(
        app, ["plan", "tests.cli.steps:with_optimizer", "--target", str(out), "--json"]
    )
    assert planned.exit_code == 0, planned.output
    assert json.loads(planned.stdout.splitlines()[-1])["target"] == target.name


def test_a_device_that_is_not_there():
    told = CliRunner().invoke(app, ["calibrate", "--device", "abacus"])
    assert told.exit_code == 2
    assert "mend:" in told.output
