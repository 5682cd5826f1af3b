"""`sci-memeff measure`: the same figures simulated and for real."""

import json

import pytest
from typer.testing import CliRunner

from sci_memeff import Plan, Rule
from sci_memeff.checkpointing import recomputed
from sci_memeff.cli.main import app


def run(*args: object):
    result = CliRunner().invoke(app, ["measure", *map(str, args)])
    assert result.exit_code == 0, result.output
    return result.stdout, json.loads(result.stdout.splitlines()[-1])


@pytest.mark.parametrize("function", ["example", "with_optimizer"])
def test_a_step_of_one_s_own_simulated_and_real(function):
    text, simulated = run(f"tests.cli.steps:{function}", "--json")
    _, real = run(f"tests.cli.steps:{function}", "--json", "--real", "--device", "cpu")
    assert text.startswith("peak ")
    assert simulated["peak_bytes"] == simulated["peak"] == real["peak_bytes"] > 0
    assert simulated["flops"] == real["flops"] > 0
    assert simulated["seconds"] > 0
    states = simulated["by_kind"]["optimizer"]["highest"]
    assert (states > 0) == (function == "with_optimizer")


def test_a_preset_under_a_plan(tmp_path):
    rule = Rule(where="model.evoformer.blocks.*", seam="forward", use=recomputed())
    path = Plan(rules=(rule,)).save(tmp_path / "plan.json")
    small = ("--preset", "demo", "--crop", 8, "--blocks", 1, "--json")
    _, plain = run(*small)
    _, planned = run(*small, "--plan", path)
    _, real = run(*small, "--plan", path, "--real", "--device", "cpu")
    assert planned["recomputed_flops"] > plain["recomputed_flops"] == 0
    assert planned["peak_bytes"] == pytest.approx(real["peak_bytes"], rel=0.01)


def test_a_picture(tmp_path):
    run("tests.cli.steps:example", "--json", "--plot", tmp_path / "bytes.png")
    assert (tmp_path / "bytes.png").stat().st_size > 1000
