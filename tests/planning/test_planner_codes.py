"""Plans that may keep boundaries in 8 bits: leaner ones, as predicted, and said to be lossy."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sci_memeff import RECIPES, Plan, apply, simulate
from sci_memeff._types import in_turn
from sci_memeff.checkpointing import Coded, Device, Host, Recomputed
from sci_memeff.planning import plan
from sci_memeff.planning.groups import Segments
from sci_memeff.planning.opening import search_at, search_of
from sci_memeff.planning.planner import Origin
from sci_memeff.planning.targets import chosen_target
from sci_memeff.precision.codecs import Fp8

CPU = torch.device("cpu")
LENGTH, WIDTH = 32768, 64  # boundaries of 8 MiB, and codes of 2
TARGET = "T4-16GB"
LOSSY = ("exact", "lossy")


class Net(nn.Module):
    def __init__(self, blocks: int = 6) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 2 * WIDTH), nn.Tanh())
            for _ in range(blocks)
        )

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + block(x)[..., :WIDTH]
        return x


class Stack(Net):
    """With a seam, where it can be told which steps follow one another."""

    def __init__(self) -> None:
        super().__init__()
        self.iterate = in_turn

    def forward(self, x: Tensor) -> Tensor:
        def added(block: nn.Module) -> Any:
            return lambda x: (x + block(x)[..., :WIDTH],)

        return self.iterate([added(block) for block in self.blocks], (x,))[-1][0]


def step(model: nn.Module, x: Tensor) -> Tensor:
    return model(x).square().mean()


def twice(model: nn.Module, x: Tensor) -> Tensor:
    """Differentiates a gradient, as forces are fitted."""
    x = x.requires_grad_()
    (force,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    return force.square().mean()


def batch() -> Tensor:
    return torch.empty(LENGTH, WIDTH, device="meta")


@cache
def origin(allow: tuple[str, ...], keep: tuple[str, ...] = ("device",)) -> Origin:
    """One search for all budgets; a recipe that changes nothing leaves codes alone to choose."""
    found = plan(Net, step, batch(), allow=allow, keep=keep, recipe="fp32", target=TARGET)  # type: ignore[arg-type]
    assert isinstance(found._origin, Origin)
    return found._origin


def within(budget: int, keep: tuple[str, ...] = ("device",)) -> Plan:
    found = origin(LOSSY, keep).search.best(budget)
    assert found is not None
    return origin(LOSSY, keep).plan_of(found, budget)


def stores_of(found: Plan) -> set[Any]:
    return {rule.use.keep for rule in found.rules if isinstance(rule.use, Recomputed)}


def predicted(found: Plan) -> Any:
    assert found.prediction is not None
    return found.prediction


def test_codes_are_leaner_and_not_used_unless_they_may_be() -> None:
    exact, lossy = (origin(allow).search.leanest() for allow in (("exact",), LOSSY))
    assert lossy.peak < 0.85 * exact.peak
    assert all(store in ((), Device()) for store in origin(("exact",)).search.space.stores)
    found = origin(LOSSY).plan_of(lossy, None)
    assert stores_of(found) == {Coded(Fp8())}
    actions = predicted(found).actions
    assert [(one.what, one.tier) for one in actions] == [("recomputed, kept in fp8", "lossy")]
    assert actions[0].saved_bytes > 0
    assert Plan.from_json(found.to_json()) == found


def test_where_bytes_allow_nothing_is_encoded() -> None:
    """Encoding takes time."""
    lean, plain = origin(("exact",)).search.leanest().needs, origin(LOSSY).search.plain.needs
    assert within(plain).rules == ()
    assert stores_of(within(lean)) <= {Device()}
    assert all(one.tier == "exact" for one in predicted(within(lean)).actions)


def test_more_bytes_are_never_slower() -> None:
    for keep in (("device",), ("device", "host")):
        search = origin(LOSSY, keep).search
        low, high = search.leanest().needs, search.plain.needs
        budgets = [low + (high - low) * k // 12 for k in range(14)]
        plans = [within(budget, keep) for budget in budgets]
        assert all(predicted(p).peak_bytes <= b for p, b in zip(plans, budgets, strict=True))
        seconds = [predicted(one).step_seconds for one in plans]
        assert all(more <= less for less, more in pairwise(seconds))
        assert len({frozenset(stores_of(one)) for one in plans}) >= 3


@pytest.mark.parametrize("share", [0.0, 0.3])
@pytest.mark.parametrize("keep", [("device",), ("device", "host")])
def test_peaks_are_as_predicted_to_the_byte(keep: tuple[str, ...], share: float) -> None:
    search = origin(LOSSY, keep).search
    low = search.leanest().needs
    found = within(int(low + share * (search.plain.needs - low)), keep)
    whole = simulate(lambda: apply(Net(), found), step, batch(), device="cpu")
    assert predicted(found).peak_bytes == whole.peaks[CPU]
    assert predicted(found).host_bytes == whole.peaks.get(torch.device("meta"), 0)


def test_codes_halve_the_way_to_the_host() -> None:
    search = origin(LOSSY, ("device", "host")).search
    count = 6
    assert len(search.space.groups) == 1
    plain, coded = (
        search.look((Segments(count, store=store),)) for store in (Host(), Coded(Fp8(), Host()))
    )
    size = LENGTH * WIDTH * 4
    assert plain.host == count * size
    assert coded.host == count * Fp8().bytes((LENGTH, WIDTH), torch.float32)


def test_a_step_that_differentiates_gradients_is_planned_without_codes() -> None:
    given: dict[str, Any] = {"allow": LOSSY, "keep": ("device",), "recipe": RECIPES["fp32"]}
    target = chosen_target(TARGET)
    once = search_of(Stack(), step, batch(), target, **given)
    assert Coded(Fp8()) in once.space.stores
    assert search_at(once, batch()).space.stores == once.space.stores
    search = search_of(Stack(), twice, batch(), target, **given)
    assert search.space.stores == (Device(),)
    assert search.leanest().peak < search.plain.peak
