"""`sci-memeff verify`: what it prints and the codes that it ends with."""

import json

import pytest
from typer.testing import CliRunner

from sci_memeff import Plan, Rule
from sci_memeff.checkpointing import Recomputed, in_segments, recomputed
from sci_memeff.cli.main import app

OWN = "tests.cli.steps:example"


def run(*args: object):
    return CliRunner().invoke(app, ["verify", *map(str, args)])


@pytest.fixture
def saved(tmp_path):
    plan = Plan(rules=(Rule(where="layers.<0-2>", seam="forward", use=recomputed()),))
    return plan.save(tmp_path / "plan.json")


def test_a_plan_that_is_right(saved):
    result = run(OWN, "--plan", saved, "--json")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("verified: the loss and 12 gradients on the whole batch, 3 se")
    read = json.loads(result.stdout.splitlines()[-1])
    assert read["ok"] is True
    assert read["compared"] == 12


def test_one_that_is_not(saved, monkeypatch):
    def worse(use, forward, args, kwargs):
        return 1.01 * forward(*args, **kwargs)

    monkeypatch.setattr(Recomputed, "__call__", worse)
    result = run(OWN, "--plan", saved)
    assert result.exit_code == 1
    assert result.stdout.startswith("NOT verified")
    assert run(OWN, "--plan", saved, "--tolerance", 2).exit_code == 0


def test_a_preset_under_a_plan(tmp_path):
    plan = Plan(rules=(Rule(where="model.evoformer", seam="iterate", use=in_segments(1)),))
    path = plan.save(tmp_path / "plan.json")
    small = ("--crop", 8, "--blocks", 1, "--device", "cpu")
    result = run("--preset", "demo", *small, "--plan", path, "--reference", "float64")
    assert result.exit_code == 0, result.output
    assert "compared with a float64 reference" in result.stdout
    assert "1 seams changed" in result.stdout


def test_what_cannot_be_done(tmp_path, saved):
    result = run("--preset", "demo", "--plan", saved, "--crop", 8, "--device", "cpu")
    assert result.exit_code == 2
    assert "layers.<0-2>" in result.stderr
    assert "mend:" in result.stderr
    assert run(OWN, "--plan", tmp_path / "absent.json").exit_code == 2
    assert run().exit_code == 2
