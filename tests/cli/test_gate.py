"""`sci-memeff verify --recipe`: the gate, its figures and the codes that it ends with."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sci_memeff.cli.gate import RecipeName
from sci_memeff.cli.main import app
from sci_memeff.precision import RECIPES

OWN = "tests.cli.steps:example"
DATA = Path(__file__).parents[2] / "data"


def run(*args: object):
    return CliRunner().invoke(app, ["verify", *map(str, args)])


def test_every_recipe_can_be_named():
    assert [str(name) for name in RecipeName] == list(RECIPES)


def test_a_recipe_that_passes(tmp_path):
    picture = tmp_path / "gate.png"
    result = run(OWN, "--recipe", "bf16", "--plot", picture, "--json")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("bf16: passed, the cosine of the whole gradient")
    read = json.loads(result.stdout.splitlines()[-1])
    assert read["passed"] is True
    assert 0.999 <= read["gradient_cosine"] < 1
    assert picture.stat().st_size > 1000


def test_one_that_does_not():
    result = run(OWN, "--recipe", "bf16", "--bar", 1, "--json")
    assert result.exit_code == 1
    assert result.stdout.startswith("bf16: NOT passed")
    assert json.loads(result.stdout.splitlines()[-1])["passed"] is False


@pytest.mark.slow
def test_a_preset_s_gradients_and_curves(tmp_path):
    small = ("--crop", 8, "--blocks", 1, "--device", "cpu")
    curves = ("--data", DATA, "--seeds", 2, "--steps", 2, "--plot", tmp_path / "gate.svg")
    result = run("--preset", "demo", *small, "--recipe", "bf16", *curves, "--json")
    read = json.loads(result.stdout.splitlines()[-1])
    assert result.exit_code == (0 if read["passed"] else 1), result.output
    assert "2 steps of demo, 2 seeds each; fp32 ends with a loss of" in result.stdout
    assert set(read["curves"]["variants"]) == {"fp32", "bf16"}
    assert read["gradient_cosine"] > 0.99
    assert (tmp_path / "gate-curves.svg").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((OWN, "--bar", 0.9), "--bar is for --recipe"),
        ((OWN, "--recipe", "bf16", "--data", DATA), "--data is for the training runs of presets"),
    ],
)
def test_what_does_not_go_together(args, message):
    result = run(*args)
    assert result.exit_code == 2
    assert message in result.output
    assert "mend:" in result.output
