"""Want of memory: a leaner plan, the same sample again, and the numbers of a run without it."""

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from sci_memeff import Plan, Rule, describe
from sci_memeff._prediction import Prediction
from sci_memeff.checkpointing import recomputed
from sci_memeff.errors import BadPlanError, NoLeanerPlanError
from sci_memeff.planning.guard import Guard
from sci_memeff.training.loop import Parts, fit
from sci_memeff.training.setup import ModelAndLoss
from sci_memeff.training.tightening import PlanInForce

from .standins import TinyModel, loss, parts, settings
from .test_loop import Listening, numbers

DEPTH = 6
WIDE = 1024


class Block(nn.Module):
    """Keeps much, and counts in a buffer how often it has been called."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(12)
        self.scales = nn.Parameter(torch.linspace(-2, 2, WIDE))
        self.down = nn.Linear(width, width)
        self.dropout = nn.Dropout(0.2)

    def forward(self, x):
        return x + 0.1 * self.dropout(self.down(self.widened(self.norm(x))))

    def widened(self, x):
        return torch.tanh(x[..., None] * self.scales).mean(-1)


class Deep(TinyModel):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(Block(8) for _ in range(DEPTH)))

    def forward(self, batch):
        aatype, index = batch["aatype"][..., -1], batch["residue_index"][..., -1]
        single = self.blocks(self.embedding(aatype) + self.place(index))
        return {
            "final_atom_positions": self.out(single).unflatten(-1, (37, 3)) * 10.0,
            "final_atom_mask": batch["all_atom_mask"][..., -1],
            "plddt": torch.full(aatype.shape, 50.0),
        }


def deep(**changes) -> Parts:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = Deep()
    return replace(parts(), model=model, **changes)


def predicted(peak: int) -> Prediction:
    return Prediction(
        target="cpu",
        budget_bytes=None,
        peak_bytes=peak,
        peak_phase="backward",
        peak_module="model",
        margin=0.0,
        reserved_bytes=peak,
        host_bytes=0,
        plain_peak_bytes=10_000,
        flops=20_000 - peak,
        plain_flops=10_000,
        step_seconds=1.0,
        plain_seconds=1.0,
        actions=(),
    )


def front() -> list[Plan]:
    """More and more blocks recomputed."""
    plans = [Plan(prediction=predicted(10_000))]
    for last in range(0, DEPTH, 2):
        where = f"model.blocks.<0-{last + 1}>"
        rule = Rule(where=where, seam="forward", use=recomputed())
        plans.append(Plan(rules=(rule,), prediction=predicted(9_000 - 1_000 * last)))
    return plans


@pytest.fixture(scope="module")
def wanted(tmp_path_factory) -> tuple[Path, int, int]:
    """A run with all the memory there is: its folder, its peak, that of the leanest plan."""
    folder = tmp_path_factory.mktemp("wanted") / "run"
    with Guard(1 << 40) as plainly:
        fit(deep(), settings(), folder)
    with Guard(1 << 40) as leanest:
        fit(deep(plan=front()[-1]), settings(), folder.with_name("lean"))
    assert numbers(folder) == numbers(folder.with_name("lean"))
    return folder, plainly.peak, leanest.peak


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "memory.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_losses_are_those_of_a_run_without_want_of_memory(wanted, tmp_path):
    whole, plainly, leanest = wanted
    assert leanest < 0.8 * plainly
    listening = Listening()
    given = deep(front=front)
    with Guard(leanest + 1000) as guard:
        fit(given, settings(), tmp_path, reporter=listening)
    assert guard.raised >= 3
    assert numbers(tmp_path) == numbers(whole)
    rows = table(tmp_path)
    assert len(rows) == guard.raised
    assert {row["step"] for row in rows} <= {"1", "2", "3"}
    assert [row["peak_bytes_after"] for row in rows][-1] == "5000"
    assert rows[0]["peak_bytes_before"] == ""
    assert "bytes were asked for" in rows[0]["said"]
    assert Plan.load(tmp_path / "plan.json") == front()[-1]
    assert describe(given.model).keys() == {f"blocks.{k}" for k in range(DEPTH)}
    said = [line for line in listening.lines if "out of memory" in line]
    assert len(said) == guard.raised
    assert said[0].startswith("step 1: out of memory (")
    assert "going on with a plan for 9.77 KiB" in said[0]


def test_the_leanest_plan_may_not_be_enough(wanted, tmp_path):
    _, _, leanest = wanted
    with (
        Guard(leanest - 100_000),
        pytest.raises(NoLeanerPlanError, match="the leanest of 4\n  mend: set a smaller data"),
    ):
        fit(deep(front=front), settings(), tmp_path)


def test_without_other_plans_the_mend_is_told(wanted, tmp_path):
    with (
        Guard(wanted[2]),
        pytest.raises(NoLeanerPlanError, match="mend: give a plan that"),
    ):
        fit(deep(), settings(), tmp_path)
    with Guard(wanted[2] - 100_000), pytest.raises(BadPlanError, match="mend: call front"):
        fit(deep(plan=front()[-1]), settings(), tmp_path / "planned")


class Fails:
    """A use of the seam "forward" that has no memory in some of its backward passes."""

    def __init__(self, at: Sequence[int]) -> None:
        self.count = 0
        self.at = at

    def __call__(self, forward, args, kwargs):
        out = forward(*args, **kwargs)
        if out.requires_grad:
            out.register_hook(self.hook)
        return out

    def hook(self, gradient):
        self.count += 1
        if self.count in self.at:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return gradient


@pytest.mark.parametrize("at", [[1], [2], [4, 5]])
def test_a_backward_pass_that_was_cut_leaves_nothing(wanted, tmp_path, at, monkeypatch):
    """In the first or the second sample of a batch of two, once or twice, after some gradients."""
    monkeypatch.setattr(Plan, "save", lambda self, path: path)  # uses of the test's own
    failing = Fails(at)
    rule = Rule(where="model.blocks.2", seam="forward", use=failing)
    plans = [
        Plan(rules=(rule, *plan.rules), prediction=predicted(8_000 - 1000 * k))
        for k, plan in enumerate(front()[:2] * 2)
    ]
    listening = Listening()
    given = deep(plan=plans[0], front=lambda: plans)
    fit(given, settings(), tmp_path, reporter=listening)
    assert numbers(tmp_path) == numbers(wanted[0])
    assert len(table(tmp_path)) == len(at)
    assert sum("CUDA out of memory" in line for line in listening.lines) == len(at)


def test_other_errors_are_not_caught(tmp_path):
    def breaks(outputs, features):
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        fit(replace(deep(front=front), loss=breaks), settings(), tmp_path)


def released(preset):
    optimizer = replace(preset.optimizer, batch_size=1, clip_norm=None, release_gradients=True)
    return replace(preset, optimizer=optimizer)


def test_updates_inside_the_backward_pass_cannot_be_taken_again(tmp_path, monkeypatch):
    monkeypatch.setattr(Plan, "save", lambda self, path: path)
    rule = Rule(where="model.blocks.2", seam="forward", use=Fails([3]))
    plans = [Plan(rules=(rule,), prediction=predicted(9_000)), front()[-1]]
    given = deep(plan=plans[0], front=lambda: plans)
    with pytest.raises(NoLeanerPlanError, match="mend: go on with --resume") as caught:
        fit(given, released(settings()), tmp_path / "cut")
    assert "had been updated already" in str(caught.value)
    again = deep(plan=plans[1])
    fit(again, released(settings()), tmp_path / "cut", resume=True)
    fit(deep(), released(settings()), tmp_path / "whole")
    assert numbers(tmp_path / "cut") == numbers(tmp_path / "whole")


def test_a_resumed_run_goes_on_with_the_plan_that_it_had(wanted, tmp_path):
    _, _, leanest = wanted
    with Guard(leanest + 1000), pytest.raises(RuntimeError, match="power cut"):
        fit(deep(front=front), settings(), tmp_path, reporter=Listening(6))
    listening, given = Listening(), deep(front=front)
    with Guard(leanest + 1000) as guard:
        fit(given, settings(), tmp_path, resume=True, reporter=listening)
    assert not guard.raised
    assert numbers(tmp_path) == numbers(wanted[0])
    assert f"going on with the plan in {tmp_path / 'plan.json'}" in listening.lines
    assert len(describe(given.model)) == DEPTH
    other = deep(plan=front()[1])
    fit(other, settings(steps=13), tmp_path, resume=True)
    assert len(describe(other.model)) == 2
    assert Plan.load(tmp_path / "plan.json") == front()[1]


def test_a_plan_that_does_not_fit_is_refused_before_anything_is_written(tmp_path):
    rule = Rule(where="nowhere", seam="forward", use=recomputed())
    with pytest.raises(BadPlanError, match="nowhere"):
        fit(deep(plan=Plan(rules=(rule,))), settings(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_seams_stay_as_they_are_without_a_plan():
    model = deep().model
    rule = Rule(where="model.blocks.1", seam="forward", use=recomputed())
    PlanInForce(ModelAndLoss(model, loss), Plan(rules=(rule,)))
    held = PlanInForce(ModelAndLoss(model, loss))
    assert held.plan is None
    assert held.run(lambda: 3) == 3
    assert describe(model).keys() == {"blocks.1"}
