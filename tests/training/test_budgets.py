"""A run within a budget: planned for its worst sample, saved, resumed, verified. The planner itself
is played here; `test_train_within_a_budget` runs it.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sci_memeff import Plan, Rule
from sci_memeff._prediction import Prediction
from sci_memeff.checkpointing import in_segments
from sci_memeff.data.example import Skipped
from sci_memeff.errors import BadDataError, VerificationError
from sci_memeff.planning import planner
from sci_memeff.training import budgets, train_alphafold
from sci_memeff.training.folder import RunFolder
from sci_memeff.training.presets import DEMO
from sci_memeff.training.reports import Silent

DATA = Path(__file__).parents[2] / "data"
CPU = torch.device("cpu")

TINY = replace(
    DEMO,
    model=replace(
        DEMO.model,
        c_m=16,
        c_z=8,
        c_s=16,
        c_e=8,
        num_structure_iterations=1,
        num_heads_msa=2,
        num_heads_pair=2,
        num_heads_ipa=2,
        c_hidden_ipa=4,
        c_resnet=8,
    ),
    data=replace(DEMO.data, crop_size=12, max_msa_clusters=2, max_extra_msa=2),
    run=replace(DEMO.run, steps=2, checkpoint_every=1, validate_every=0),
)


class Told(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def noted(self, line: str) -> None:
        self.lines.append(line)


def segments(length: int) -> Plan:
    found = Prediction(
        target="cpu",
        budget_bytes=1 << 30,
        peak_bytes=1 << 29,
        peak_phase="backward",
        peak_module="model",
        margin=0.0,
        reserved_bytes=1 << 29,
        host_bytes=0,
        plain_peak_bytes=1 << 30,
        flops=5,
        plain_flops=4,
        step_seconds=1.0,
        plain_seconds=1.0,
        actions=(),
    )
    rule = Rule(where="model.evoformer", seam="iterate", use=in_segments(length))
    return Plan(rules=(rule,), prediction=found)


@pytest.fixture
def asked(monkeypatch) -> list[dict]:
    """What the planner was asked for."""
    calls = []

    def played(model, step, batch, **options):
        calls.append({"model": model, "batch": batch, **options})
        return segments(len(calls))

    monkeypatch.setattr(planner, "plan", played)
    return calls


def run(folder: Path, *, resume: bool = False, steps: int = 2, **changes) -> list[str]:
    settings = replace(TINY, run=replace(TINY.run, steps=steps, **changes))
    told = Told()
    train_alphafold(settings, DATA, folder, resume=resume, reporter=told)
    return told.lines


def test_a_run_is_planned_for_its_worst_sample(tmp_path, asked):
    lines = run(tmp_path / "run", budget="1GiB")
    assert len(asked) == 1
    assert asked[0]["budget"] == "1GiB"
    assert asked[0]["target"] == "cpu"
    assert asked[0]["batch"]["aatype"].shape == (1, 12, 1)
    assert Plan.load(tmp_path / "run" / "plan.json") == segments(1)
    assert "planning for 1GiB" in lines
    assert str(segments(1)) in lines
    assert "budget: 1GiB" in (tmp_path / "run" / "config.yaml").read_text()


def test_a_resumed_run_keeps_its_plan_unless_the_budget_is_another(tmp_path, asked):
    run(tmp_path / "run", budget="1GiB")
    lines = run(tmp_path / "run", resume=True, steps=3, budget="1GiB")
    assert len(asked) == 1
    assert f"going on with the plan in {tmp_path / 'run' / 'plan.json'}" in lines
    run(tmp_path / "run", resume=True, steps=4, budget="500MiB")
    assert [call["budget"] for call in asked] == ["1GiB", "500MiB"]
    assert Plan.load(tmp_path / "run" / "plan.json") == segments(2)


def test_without_a_budget_nothing_is_planned(tmp_path, asked):
    lines = run(tmp_path / "run")
    assert not asked
    assert not (tmp_path / "run" / "plan.json").exists()
    assert not any("planning" in line for line in lines)
    budgets.leaner_plans(TINY, torch.device("cuda"))  # not before it is asked
    assert not asked


def test_a_folder_in_use_is_refused_before_anything_is_planned(tmp_path, asked):
    run(tmp_path / "run")
    with pytest.raises(ValueError, match="holds a run already"):
        run(tmp_path / "run", budget="1GiB")
    assert not asked


def test_the_plan_is_verified_first(tmp_path, asked, monkeypatch):
    lines = run(tmp_path / "run", budget="1GiB", verify=True)
    (table,) = [line for line in lines if line.startswith("verified: the loss and")]
    assert "1 seams changed" in table
    monkeypatch.setattr(torch.Tensor, "isfinite", lambda x: torch.zeros_like(x, dtype=torch.bool))
    with pytest.raises(VerificationError, match="is not finite"):
        run(tmp_path / "other", budget="1GiB", verify=True)
    assert not (tmp_path / "other").exists()


def test_smaller_crops_are_tried_where_the_plain_step_does_not_fit(monkeypatch):
    given = {}

    def played(model, step, batch, *, plan, smaller):
        given.update({each.__name__: each(batch) for each in smaller})
        return type("Found", (), {"raise_if_bad": lambda self: "fine"})()

    monkeypatch.setattr(budgets, "verify", played)
    longer = replace(TINY, data=replace(TINY.data, crop_size=70))
    data = [Skipped("a", "bad"), budgets_example(longer)]
    assert budgets.verify_for_run(longer, segments(1), data, CPU) == "fine"
    assert list(given) == [f"the first {n} residues" for n in (35, 17, 16)]
    short = given["the first 16 residues"]
    assert short["aatype"].shape == (1, 16, 1)
    assert short["msa_feat"].shape == (1, 2, 16, 49, 1)
    assert short["resolution"].shape == (1, 1)


def budgets_example(settings):
    from sci_memeff.training.made_up import made_up_example

    return made_up_example(settings.data)


def test_no_sample_to_verify_on():
    data = [Skipped("a", "bad")] * 1000
    with pytest.raises(BadDataError, match="mend: run `sci-memeff data check DIR`"):
        budgets.verify_for_run(TINY, segments(1), data, CPU)


def test_the_sum_of_a_batch_s_gradients_is_planned_for():
    many = replace(TINY, optimizer=replace(TINY.optimizer, batch_size=4))
    assert budgets.setup_of_run(many).samples == 4
    assert RunFolder(Path("run")).plan == Path("run/plan.json")
