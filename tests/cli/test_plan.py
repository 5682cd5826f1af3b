"""`sci-memeff plan`: what it prints, writes and ends with."""

import json

import pytest
from typer.testing import CliRunner

from sci_memeff import Plan
from sci_memeff.cli.main import app
from sci_memeff.cli.subjects import DtypeName, subject
from sci_memeff.planning import planner

OWN = "tests.cli.steps:with_optimizer"


def run(*args: object):
    return CliRunner().invoke(app, ["plan", *map(str, args)])


def test_a_budget_that_is_met(tmp_path):
    out = tmp_path / "plan.json"
    result = run(OWN, "--budget", "80KB", "--target", "cpu", "--out", out, "--json")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("predicted peak on cpu: ")
    read = json.loads(result.stdout.splitlines()[-1])
    assert 0 < read["predicted_peak_bytes"] <= read["budget_bytes"] == 80_000
    assert read["predicted_peak_bytes"] < read["plain_peak_bytes"]
    assert read["flops_ratio"] > 1
    assert read["seconds"] > 0
    assert read["target"] == "cpu"
    assert Plan.load(out).prediction.peak_bytes == read["predicted_peak_bytes"]
    assert "\x1b" not in result.output


def test_the_plan_is_what_measuring_and_verifying_take(tmp_path):
    out = tmp_path / "plan.json"
    planned = run(OWN, "--budget", "80KB", "--target", "cpu", "--out", out, "--json")
    predicted = json.loads(planned.stdout.splitlines()[-1])["predicted_peak_bytes"]
    for command in (["measure", OWN], ["measure", OWN, "--real", "--device", "cpu"]):
        result = CliRunner().invoke(app, [*command, "--plan", str(out), "--json"])
        measured = json.loads(result.stdout.splitlines()[-1])["peak_bytes"]
        assert predicted == pytest.approx(measured, rel=0.01)
    result = CliRunner().invoke(app, ["verify", OWN, "--plan", str(out)])
    assert result.exit_code == 0, result.output
    assert "0 seams changed" not in result.stdout


def test_every_plan_that_none_betters(tmp_path):
    picture = tmp_path / "front.png"
    result = run(OWN, "--target", "cpu", "--front", "--plot", picture, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout.splitlines()[-1])["front"]
    assert len(found) > 1
    peaks = [each["predicted_peak_bytes"] for each in found]
    assert peaks == sorted(peaks, reverse=True)
    assert picture.stat().st_size > 1000


def test_a_budget_that_cannot_be_met():
    result = run(OWN, "--budget", "10KB", "--target", "cpu")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert "mend:" in result.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "nothing is named to work on"),
        ((OWN, "--max-crop"), "does not say in how many bytes\n  mend: give --budget"),
        (
            (OWN, "--max-crop", "--budget", "1GB"),
            "returns one\n  mend: call sci_memeff.max_crop in Python",
        ),
        ((OWN, "--budget", "much"), "'much' is no budget in bytes"),
        ((OWN, "--target", "toaster"), "there is no target 'toaster'"),
    ],
)
def test_what_cannot_be_done(args, message):
    result = run(*args)
    assert result.exit_code == 2
    assert message in result.stderr


def test_the_most_residues_that_fit(monkeypatch):
    """The search is played: it takes minutes."""
    asked = {}

    def played(model, step, batch_at, **options):
        asked.update(options, residues=batch_at(24)["aatype"].shape[1])
        own = subject(OWN, None, DtypeName.fp32)
        return planner.MaxCrop(24, planner.plan(own.model, own.step, own.batch, budget="1GB"))

    monkeypatch.setattr(planner, "max_crop", played)
    small = ("--preset", "demo", "--blocks", 1, "--target", "cpu", "--no-host")
    result = run(*small, "--budget", "60MiB", "--max-crop", "--json")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("at most 24 residues fit")
    assert json.loads(result.stdout.splitlines()[-1])["max_crop"] == 24
    assert asked["residues"] == 24
    assert asked["budget"] == "60MiB"
    assert asked["keep"] == ("device",)


def test_a_plan_in_a_recipe(tmp_path):
    out, small = tmp_path / "plan.json", (OWN, "--budget", "80KB", "--target", "cpu", "--json")
    result = run(*small, "--recipe", "bf16", "--out", out)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("recipe bf16: products in bfloat16")
    assert Plan.load(out).recipe.name == "bf16"
    found, wide = (json.loads(each.stdout.splitlines()[-1]) for each in (result, run(*small)))
    assert found["plain_peak_bytes"] < wide["plain_peak_bytes"]
