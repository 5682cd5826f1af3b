"""Plans for models that nobody has prepared, and that no adapter knows."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from sci_memeff import Plan, apply, simulate
from sci_memeff.planning import plan
from sci_memeff.planning.groups import SliceGroup, StackGroup
from sci_memeff.planning.opening import search_of
from sci_memeff.planning.probed import Calls
from sci_memeff.planning.targets import chosen_target


class Mixer(nn.Module):
    """Attention without a module of its own, which mixes tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.to_qkv = nn.Linear(width, 3 * width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.to_qkv(x).chunk(3, dim=-1)
        return torch.softmax(q @ k.transpose(-1, -2) / 4, dim=-1) @ v


class Feed(nn.Module):
    def __init__(self, width: int, wide: int, dropout: float) -> None:
        super().__init__()
        self.up, self.gate = nn.Linear(width, wide), nn.Linear(width, wide)
        self.down = nn.Linear(wide, width)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.down(torch.tanh(self.gate(x)) * self.up(x)))


class Block(nn.Module):
    def __init__(self, width: int, wide: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.mix = nn.LayerNorm(width), Mixer(width)
        self.feed = Feed(width, wide, dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mix(self.norm(x))
        return x + self.feed(x)


class Model(nn.Module):
    def __init__(self, width: int = 8, wide: int = 256, dropout: float = 0.0) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block(width, wide, dropout) for _ in range(3)])

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x.square().mean()


def step(model: nn.Module, x: Tensor) -> Tensor:
    return model(x)


def gradients(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    step(model, x).backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_a_model_that_nobody_knows_is_sliced_where_a_probe_proves_it() -> None:
    torch.manual_seed(0)
    model, x = Model().double(), torch.randn(1, 100, 8, dtype=torch.float64)
    plain = simulate(model, step, x)
    found = plan(model, step, x, budget=int(0.35 * plain.peak), keep=("device",))
    walked = [rule for rule in found.rules if "sliced" in str(rule.use).lower()]
    assert [rule.where for rule in walked] == ["blocks.<0-2>.feed"]
    planned = apply(copy.deepcopy(model), found)
    simulated = simulate(planned, step, x)
    assert found.prediction is not None
    assert found.prediction.peak_bytes == pytest.approx(simulated.peak, rel=0.01)
    assert simulated.peak <= 0.35 * plain.peak
    wanted, given = gradients(model, x), gradients(planned, x)
    assert wanted.keys() == given.keys() != set()
    for name, gradient in wanted.items():
        assert (given[name] - gradient).abs().max() <= 1e-9 * gradient.abs().max(), name


def test_what_draws_random_numbers_is_not_sliced() -> None:
    model, x = Model(dropout=0.1).double(), torch.randn(1, 100, 8, dtype=torch.float64)
    plain = simulate(model, step, x)
    found = plan(model, step, x, budget=int(0.6 * plain.peak), keep=("device",))
    assert found != Plan()
    assert not any("sliced" in str(rule.use).lower() for rule in found.rules)


def test_calls_in_several_ways_are_no_example() -> None:
    calls = Calls()
    calls.note(0, (torch.ones(3), 2), {})
    calls.note(0, (torch.ones(3), 2), {})
    example = calls.example(0)
    assert example is not None
    assert (example[0][0].shape, example[0][0].is_meta, example[0][1]) == ((3,), True, 2)
    for args, kwargs in (((torch.ones(4), 2), {}), ((torch.ones(3), 3), {}), ((), {"x": None})):
        calls.note(1, (torch.ones(3), 2), {})
        calls.note(1, args, kwargs)
        assert calls.example(1) is None
    assert calls.example(2) is None


class Pyramid(nn.Module):
    """Stacks of two widths, as in a U-net."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.ModuleList([Model(8).blocks, Model(16).blocks])
        self.widen = nn.Linear(8, 16)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.levels[0].children():
            x = block(x)
        x = self.widen(x)[:, ::4]
        for block in self.levels[1].children():
            x = block(x)
        return x.square().mean()


def test_stacks_of_different_sizes_are_groups_apart() -> None:
    target = chosen_target(None)
    x = torch.empty(1, 100, 8)
    search = search_of(Pyramid(), step, x, target, keep=("device",))
    stacks = {g.where: g for g in search.space.groups if isinstance(g, StackGroup)}
    assert {"levels.0.<0-2>", "levels.1.<0-2>"} <= set(stacks)
    assert stacks["levels.0.<0-2>"].saved > 2 * stacks["levels.1.<0-2>"].saved
    slices = {g.where: g for g in search.space.groups if isinstance(g, SliceGroup)}
    assert slices["levels.0.<0-2>.feed"].length == 100
    assert slices["levels.1.<0-2>.feed"].length == 25
    assert slices["levels.1.<0-2>.feed"].within == {"levels.1.<0-2>"}
