"""The modules that a step calls, each probed as it is called, and equal ones once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sci_memeff import Plan, Rule, apply
from sci_memeff.chunking import sliced
from sci_memeff.chunking.probing import axes_of_calls, calls
from sci_memeff.errors import CannotSimulateError

from .modules import answer, assert_same, double


class Block(nn.Module):
    def __init__(self, slope: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(12, 3, batch_first=True)
        self.layers = nn.Sequential(nn.Linear(12, 40), nn.LeakyReLU(slope), nn.Linear(40, 12))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return x + self.layers(x)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(slope) for slope in (0.1, 0.1, 0.1, 0.2))
        self.head = nn.Linear(12, 3)
        self.unused = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.head(x) + self.head(x[:, :20]).mean()


def step(model: nn.Module, x: Tensor) -> Tensor:
    return model(x).square().sum()


@pytest.fixture
def probed(monkeypatch) -> list[Any]:
    """What `explain` was called with."""
    seen, explain = [], calls.explain

    def counting(module: nn.Module, *call: Any) -> Any:
        seen.append((type(module).__name__, call))
        return explain(module, *call)

    monkeypatch.setattr(calls, "explain", counting)
    return seen


def test_every_module_that_is_called(probed):
    found = axes_of_calls(Net(), step, torch.empty(5, 30, 12, device="meta"))
    assert {name for name in found if "blocks" not in name} == {"", "head"}
    assert "blocks.3.layers.1" in found
    assert [one.in_dims for one in found["blocks.2"].axes] == [((0, -3),)]
    assert {(one.in_dims, one.length) for one in found["blocks.3.layers"].axes} == {
        (((0, -2),), 30),
        (((0, -3),), 5),
    }
    assert "length 30" in found["blocks.0"].refused
    kinds = [name for name, _ in probed]
    # blocks of two slopes, and their activations; the head at two lengths
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "Net": 1,
        "Block": 2,
        "MultiheadAttention": 1,
        "Sequential": 2,
        "Linear": 4,
        "LeakyReLU": 2,
    }


def test_names_that_are_asked_for_alone(probed):
    found = axes_of_calls(
        Net(), step, torch.empty(5, 30, 12, device="meta"), names=("blocks.0.layers", "unused")
    )
    assert list(found) == ["blocks.0.layers"]
    assert len(probed) == 1


def test_an_axis_stands_for_all_calls_of_a_module():
    found = axes_of_calls(Net(), step, torch.empty(5, 30, 12, device="meta"), names=("head",))
    assert {(one.in_dims, one.length) for one in found["head"].axes} == {
        (((0, -2),), 30),
        (((0, -3),), 5),
    }

    def without_batch(model: nn.Module, x: Tensor) -> Tensor:
        return model.head(x).sum() + model.head(x[0]).sum()

    found = axes_of_calls(Net(), without_batch, torch.empty(5, 30, 12), names=("head",))
    assert [one.in_dims for one in found["head"].axes] == [((0, -2),)]


def test_integer_buffers_tell_modules_apart(probed):
    class Shift(nn.Module):
        def __init__(self, by: int) -> None:
            super().__init__()
            self.register_buffer("by", torch.tensor([by]))

        def forward(self, x: Tensor) -> Tensor:
            return x.roll(3, -1) * self.by

    model = nn.Sequential(Shift(1), Shift(1), Shift(2))
    axes_of_calls(model, step, torch.empty(5, 30), names=("0", "1", "2"))
    assert len(probed) == 2


def test_what_is_found_is_a_plan():
    model = double(Net())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.2)
    x = torch.randn(5, 30, 12, dtype=torch.float64, requires_grad=True)
    wanted = [x, *(p for n, p in model.named_parameters() if "unused" not in n)]
    plain = answer(lambda: model(x), wanted)
    names = [f"blocks.{i}.{part}" for i in range(4) for part in ("attention", "layers")]
    rules = tuple(
        Rule(where=name, seam="forward", use=sliced(4, dict(one.in_dims), one.out_dims))
        for name, found in axes_of_calls(model, step, x, names=names).items()
        for one in found.axes
        if one.length == 30
    )
    assert len(rules) == 8
    apply(model, Plan(rules=rules))
    assert_same(answer(lambda: model(x), wanted), plain, 1e-11)


def test_the_model_is_left_alone():
    model = Net()
    axes_of_calls(model, step, torch.empty(5, 30, 12))
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert all(p.grad is None for p in model.parameters())


def test_steps_that_cannot_be_simulated():
    def by_value(model: nn.Module, x: Tensor) -> Tensor:
        return model(x) if x.sum().item() > 0 else x

    with pytest.raises(CannotSimulateError, match="needs the values"):
        axes_of_calls(Net(), by_value, torch.empty(5, 30, 12))
