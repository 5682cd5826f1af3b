"""A budget in, a plan out that keeps it: predicted, simulated, and with the plain gradients."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from functools import cache
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sci_memeff import Plan, apply, describe, simulate
from sci_memeff.checkpointing import Recomputed
from sci_memeff.checkpointing.stores import ON_DEVICE
from sci_memeff.errors import BadConfigError, BadPlanError, BudgetError
from sci_memeff.planning import max_crop, plan
from sci_memeff.planning.planner import Origin, _check
from sci_memeff.planning.search import SLACK

CPU = torch.device("cpu")
WIDTH = 16


class Block(nn.Module):
    """Nothing that the package has a hint for, so that a plan takes no more than a moment."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
        x = x + (q @ k.mT / WIDTH**0.5).softmax(-1) @ v
        return x + self.down(torch.relu(self.up(x)))


class Net(nn.Module):
    def __init__(self, blocks: int = 4) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


def build() -> Net:
    torch.manual_seed(3)
    return Net()


def step(model: nn.Module, x: Tensor) -> Tensor:
    return model(x).square().mean()


def adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters())


def batch_at(length: int) -> Tensor:
    return torch.empty(2, length, WIDTH, device="meta")


def planned(length: int = 64, model: Any = build, **settings: Any) -> Plan:
    given = {"optimizer": adam, "target": "T4-16GB", **settings}
    return plan(model, step, batch_at(length), **given)


@cache
def origin() -> Origin:
    """The search behind a plan, which serves every budget."""
    found = planned()._origin
    assert isinstance(found, Origin)
    return found


def within(budget: int) -> Plan:
    """As `plan` does with a budget."""
    found = origin().search.best(budget)
    assert found is not None
    return origin().plan_of(found, budget)


def ends() -> tuple[int, int]:
    """The budgets that the leanest and the plain step need."""
    return origin().search.leanest().needs, origin().search.plain.needs


def peak(found: Plan) -> int:
    assert found.prediction is not None
    return found.prediction.peak_bytes


def seconds(found: Plan) -> float:
    assert found.prediction is not None
    return found.prediction.step_seconds


def simulated(found: Plan, length: int = 64) -> int:
    whole = simulate(
        lambda: apply(build(), found),
        step,
        batch_at(length),
        optimizer=adam,
        updates=2,
        device="cpu",
    )
    return whole.peaks[CPU]


# budgets


def test_plans_keep_their_budgets_and_more_bytes_are_never_slower() -> None:
    low, high = ends()
    assert low < 0.6 * high
    budgets = [low + (high - low) * k // 10 for k in range(13)]
    plans = [within(budget) for budget in budgets]
    for found, budget in zip(plans, budgets, strict=True):
        assert peak(found) <= budget
    assert all(seconds(more) <= seconds(less) for less, more in pairwise(plans))
    assert len(set(plans)) >= 4


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_the_peak_is_as_predicted(share: float) -> None:
    low, high = ends()
    found = within(int(low + share * (high - low)))
    assert simulated(found) == pytest.approx(peak(found), rel=0.01)


def test_enough_bytes_change_nothing() -> None:
    found = planned(budget=ends()[1])
    assert found == Plan()
    assert found.prediction is not None
    assert found.prediction.flops_ratio == 1.0
    assert found.prediction.seconds_ratio == 1.0
    assert found.prediction.plain_peak_bytes == peak(found) == origin().search.plain.peak
    assert found.prediction.actions == ()
    assert simulated(found) == pytest.approx(peak(found), rel=0.01)


def test_the_leanest_plan() -> None:
    found = planned(objective="bytes")
    assert peak(found) == origin().search.leanest().peak
    assert found.prediction is not None
    assert found.prediction.flops_ratio > 1
    assert all(action.tier == "exact" for action in found.prediction.actions)
    assert sum(action.saved_bytes for action in found.prediction.actions) > 0


def test_a_plan_s_front() -> None:
    front = within(ends()[1]).front()
    assert peak(front[0]) == origin().search.plain.peak
    assert peak(front[-1]) == origin().search.leanest().peak
    for fast, lean in pairwise(front):
        assert seconds(fast) < seconds(lean)
        assert peak(fast) > peak(lean)
        assert front.below(peak(fast)) == lean


@pytest.mark.parametrize("settings", [{"keep": ("device",)}, {"target": "cpu"}])
def test_nothing_goes_to_the_host_where_it_may_not(settings: dict[str, Any]) -> None:
    found = planned(1024, objective="bytes", **settings)
    uses = [rule.use for rule in found.rules if isinstance(rule.use, Recomputed)]
    assert uses
    assert all(use.keep == ON_DEVICE for use in uses)
    assert found.prediction is not None
    assert found.prediction.host_bytes == 0


def test_something_goes_to_the_host_where_it_may() -> None:
    """`batch_at(1024)` has boundaries that are large enough for it to be worth the while."""
    found = planned(16384, objective="bytes")
    assert found.prediction is not None
    assert found.prediction.host_bytes > 0


# what no plan meets


@pytest.mark.slow
def test_a_budget_that_cannot_be_met() -> None:
    low, _ = ends()
    told = "no plan fits in .*the leanest takes .*\n  mend: give \\d+ bytes or more, or crop to"
    with pytest.raises(BudgetError, match=told) as caught:
        planned(budget=low * 4 // 5, batch_at=batch_at)
    error = caught.value
    assert error.smallest_bytes == low
    assert 0 < sum(size for _, size in error.in_the_way) <= low
    assert error.largest_crop is not None
    assert peak(planned(error.largest_crop, budget=low * 4 // 5)) <= low * 4 // 5
    assert peak(planned(budget=error.smallest_bytes)) <= low


@pytest.mark.slow
def test_the_largest_crop() -> None:
    budget = ends()[0]
    found = max_crop(
        build, step, batch_at, budget=budget, largest=80, optimizer=adam, target="T4-16GB"
    )
    assert found.crop % 8 == 0
    assert found.crop >= 64
    assert peak(found.plan) <= budget
    with pytest.raises(BudgetError):
        planned(found.crop + 8, budget=budget)


def test_no_crop_is_small_enough() -> None:
    told = "mend: give \\d+ bytes or more, or a smaller batch"
    with pytest.raises(BudgetError, match=told) as caught:
        max_crop(build, step, batch_at, budget="1 KB", optimizer=adam)
    assert caught.value.largest_crop is None


# what is given


def test_the_largest_of_all_batches_decides() -> None:
    batches = [batch_at(length) for length in (16, 64, 32)]
    assert peak(planned(32, objective="bytes", batches=batches)) == origin().search.leanest().peak


@pytest.mark.slow
def test_every_batch_fits_where_none_is_the_largest() -> None:
    """Long rows and many of them: whichever needs more decides, under the plan as well."""
    other = torch.empty(40, 8, WIDTH, device="meta")
    lean = planned(objective="bytes", batches=[other])
    least = ceil(peak(lean) * (1 + SLACK))
    budget = 2 * least
    found = planned(budget=budget, batches=[other])
    alone = [
        simulate(lambda: apply(build(), found), step, x, optimizer=adam, updates=2, device="cpu")
        for x in (batch_at(64), other)
    ]
    assert peak(found) == pytest.approx(max(x.peaks[CPU] for x in alone), rel=0.01)
    assert peak(found) <= budget
    origin: Any = found._origin
    budgets = [least + least * k // 4 for k in range(12)]
    plans = [origin.plan_of(origin.search.best(each), each) for each in budgets]
    assert all(peak(one) <= each for one, each in zip(plans, budgets, strict=True))
    assert all(seconds(more) <= seconds(less) for less, more in pairwise(plans))
    assert all(peak(fast) > peak(lean) for fast, lean in pairwise(found.front()))
    with pytest.raises(BudgetError) as caught:
        planned(budget=least - 1, batches=[other])
    assert caught.value.smallest_bytes == least


def test_progress_is_told() -> None:
    told: list[tuple[str, int, int]] = []
    planned(budget=sum(ends()) // 2, progress=lambda *one: told.append(one))
    assert {"looking at the step", "simulating plans", "filling the budget"} <= {
        what for what, *_ in told
    }
    assert all(0 <= done <= total for _, done, total in told)


def test_the_model_is_not_touched() -> None:
    model = build().train()
    model.blocks[0].eval()
    for p in model.parameters():
        p.grad = torch.full_like(p, 7.0)
    values = copy.deepcopy(model.state_dict())
    grads = [p.grad for p in model.parameters()]
    modes = [m.training for m in model.modules()]
    state = torch.get_rng_state()
    x = torch.randn(2, 64, WIDTH, generator=torch.Generator().manual_seed(0))
    given = x.clone()
    found = plan(model, step, x, objective="bytes", optimizer=adam, target="cpu")
    assert found.rules
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(x, given)
    assert all(torch.equal(v, values[k]) for k, v in model.state_dict().items())
    assert [m.training for m in model.modules()] == modes
    assert describe(model) == {}
    for p, grad in zip(model.parameters(), grads, strict=True):
        assert type(p) is nn.Parameter
        assert p.grad is grad
        assert (p.grad == 7).all()


def test_a_plan_is_for_its_model() -> None:
    lean = within(ends()[0])
    again = Plan.from_json(lean.to_json())
    assert again == lean
    assert again.prediction == lean.prediction
    assert describe(apply(build(), again)) == describe(apply(build(), lean)) != {}
    with pytest.raises(BadPlanError, match="blocks"):
        apply(nn.Sequential(nn.Linear(1, 1)), again)


def test_gradients_are_the_plain_ones() -> None:
    def gradients(found: Plan) -> list[Tensor]:
        model = apply(build().double(), found)
        x = torch.randn(2, 64, WIDTH, generator=torch.Generator().manual_seed(0)).double()
        step(model, x).backward()
        return [p.grad for p in model.parameters() if p.grad is not None]

    plain = gradients(Plan())
    assert len(plain) == 4 * 8
    low, high = ends()
    for budget in (low, (low + high) // 2):
        for grad, other in zip(gradients(within(budget)), plain, strict=True):
            torch.testing.assert_close(grad, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"allow": ("lossy",)}, 'nothing exact may be done\n  mend: add "exact"'),
        ({"target": "abacus"}, "no target 'abacus'\n  mend: name one of"),
        ({"budget": "some"}, "no budget in bytes\n  mend: write it as"),
        ({"budget": 0}, "is none\n  mend: give at least one byte"),
    ],
)
def test_what_cannot_be_understood(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(BadConfigError, match=message):
        planned(**settings)


@pytest.mark.parametrize(
    ("objective", "allow", "keep", "message"),
    [
        ("speed", ("exact",), (), "'speed' is no objective\n  mend: one of time, bytes"),
        ("time", ("exact", "wild"), (), "allow is .*\n  mend: a tuple of some of exact, rounding"),
        ("time", ["exact"], ("device", "moon"), "keep is .*\n  mend: a tuple of some of device"),
    ],
)
def test_names_that_nobody_knows(objective: str, allow: Any, keep: Any, message: str) -> None:
    # the tests' own checks of types would refuse them before `plan` does
    with pytest.raises(BadConfigError, match=message):
        _check(objective, allow, keep)


# a model with seams of its own


@pytest.mark.slow
def test_an_evoformer_s_plans() -> None:
    # apart: thousands of operations, each checked for the shapes in its signatures, take minutes
    command = [sys.executable, str(Path(__file__).with_name("planned_evoformer.py"))]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    plans = found["plans"]
    assert all(one["peak"] <= one["budget"] for one in plans)
    assert all(more["seconds"] <= less["seconds"] for less, more in pairwise(plans))
    assert {use for one in plans for use in one["uses"]} >= {"InSegments", "InSlices"}
    whole = plans[-1]
    assert whole["budget"] > whole["plain"]
    assert not {"InSegments", "InSlices"} & set(whole["uses"])
    assert len(found["simulated"]) >= 2
    assert found["predicted"] == found["simulated"]
    assert max(found["differences"]) < 1e-9
