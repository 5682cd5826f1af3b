"""Whether a plan's gradients come up to float32's, and what is told where they do not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sci_memeff import Plan, Rule, apply, describe
from sci_memeff.checkpointing import Coded, in_segments, recomputed
from sci_memeff.errors import BadConfigError, BadPlanError, VerificationError
from sci_memeff.planning.gate import bar_of, gate
from sci_memeff.precision.codecs import Fp8


class Rounded(nn.Module):
    """A linear layer whose gradient one can spoil."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.inner = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x).tanh()


def build(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(*(Rounded() for _ in range(3)), nn.Dropout(0.1))


def step(model: nn.Module, x: Tensor) -> Tensor:
    return model(x).square().mean()


def batch() -> Tensor:
    return torch.randn(8, 16, generator=torch.Generator().manual_seed(1))


def spoiled(forward, args, kwargs):
    """A `Forward` that gives another direction of the gradient."""
    return forward(*args, **kwargs) * torch.linspace(-1, 2, 16)


@pytest.mark.parametrize("recipe", ["fp32", "bf16", "bf16-pure"])
def test_recipes_pass_and_wider_ones_are_closer(recipe: str) -> None:
    found = gate(build, step, batch(), recipe)
    assert found.passed
    assert found.raise_if_bad() is found
    assert found.name == recipe
    assert {row.name for row in found.rows} == {"0.inner", "1.inner", "2.inner"}
    assert sum(row.share**2 for row in found.rows) == pytest.approx(1)
    assert (found.cosine == pytest.approx(1, abs=1e-12)) == (recipe == "fp32")
    assert (found.error > 1e-4) == (recipe != "fp32")


def test_a_plan_of_the_same_numbers_has_the_same_gradients() -> None:
    plan = Plan(rules=(Rule(where="<0-2>", seam="forward", use=recomputed()),))
    found = gate(build(), step, batch(), plan)
    assert found.error == 0.0
    assert found.name == "fp32, 1 rules"


def test_what_spoils_a_gradient_does_not_pass(tmp_path: Path) -> None:
    plan = Plan(rules=(Rule(where="1", seam="forward", use=spoiled),))
    found = gate(build(), step, batch(), plan)
    assert not found.passed
    assert found.worst.cosine < 0.99
    assert found.below
    told = (
        "does not pass: the gradient's cosine .*\n  mend: use a wider recipe, or name that module"
    )
    with pytest.raises(VerificationError, match=told):
        found.raise_if_bad()
    assert "NOT passed" in str(found)
    read = json.loads(found.to_json())
    assert read["passed"] is False
    assert read["worst_module"] == found.worst.name
    assert len(read["modules"]) == 3
    found.plot(tmp_path / "gate.png")
    assert (tmp_path / "gate.png").stat().st_size > 1000


def test_a_gradient_that_is_not_finite_or_not_there_never_passes() -> None:
    def infinite(forward, args, kwargs):
        return forward(*args, **kwargs) * float("inf")

    def cut(forward, args, kwargs):
        return forward(*args, **kwargs).detach() + args[0]

    for use in (infinite, cut):
        plan = Plan(rules=(Rule(where="1.inner", seam="forward", use=use),))
        found = gate(build(), step, batch(), plan, bar=0.9)
        assert not found.passed
        assert json.loads(found.to_json())["passed"] is False
    assert found.worst.name == "1.inner"
    assert found.worst.cosine == 0


def test_the_model_is_not_touched() -> None:
    model = apply(build(), Plan(rules=(Rule(where="0", seam="forward", use=recomputed()),)))
    before = {name: p.clone() for name, p in model.named_parameters()}
    seams, state = describe(model), torch.get_rng_state()
    gate(model, step, batch(), "bf16")
    assert describe(model) == seams
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert all(p.grad is None for p in model.parameters())


def test_bars_are_the_narrowest_thing_s() -> None:
    assert bar_of(Plan()) == 0.9999
    assert bar_of(Plan(recipe="bf16")) == 0.999
    assert bar_of(Plan(recipe="bf16-pure")) == 0.998
    assert bar_of(Plan(recipe="fp8")) == 0.99
    coded = Rule(where="blocks", seam="iterate", use=in_segments(1, keep=Coded(Fp8())))
    assert bar_of(Plan(rules=(coded,))) == 0.998
    assert bar_of(Plan(rules=(coded,), recipe="bf16")) == 0.998


def test_what_cannot_be_gated() -> None:
    with pytest.raises(BadPlanError, match="there is no recipe 'bf61'\n  mend: give 'bf16'"):
        gate(build, step, batch(), "bf61")
    with pytest.raises(
        BadConfigError, match=r"no gradient reaches .*\n  mend: let the step return"
    ):
        gate(build, lambda _, x: x.sum().requires_grad_(), batch(), "bf16")
