"""A rehearsal's bytes and FLOPs are those of the whole simulation, whatever the plan."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sci_memeff import Plan, Rule, apply, simulate
from sci_memeff.checkpointing import Host, recomputed
from sci_memeff.chunking import sliced
from sci_memeff.errors import CannotSimulateError
from sci_memeff.planning.rehearsal import FEW, Rehearsal
from sci_memeff.planning.units import units_of

CPU = torch.device("cpu")


def nothing(flops: int, moved: int, dtype: torch.dtype) -> float:
    return 0.0


@pytest.mark.slow
def test_alphafold_is_rehearsed_to_the_byte() -> None:
    # apart: thousands of operations, each checked for the shapes in its signatures, take minutes
    command = [sys.executable, str(Path(__file__).with_name("rehearsed_alphafold.py"))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert len(found) == 7
    for name, one in found.items():
        assert one["rehearsed"] == pytest.approx(one["simulated"], rel=2e-3), name
        assert one["rehearsed_flops"] == one["simulated_flops"], name


class Encoder(nn.Module):
    def __init__(self, blocks: int = 4, dropout: float = 0.1) -> None:
        super().__init__()
        self.embed = nn.Linear(12, 32)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(32, 4, 128, dropout, batch_first=True) for _ in range(blocks)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        for layer in self.layers:
            x = layer(x)
        return x.square().mean()


class ConvBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(torch.relu(self.norm(self.first(x))))


class Convolutions(nn.Module):
    """Blocks that are called twice, so that their gradients are added up."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Conv2d(3, 8, 1)
        self.blocks = nn.Sequential(*(ConvBlock(8) for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.blocks(self.enter(x))).abs().sum()


Step = Callable[[nn.Module, Any], Tensor]
FOREIGN: dict[str, tuple[Callable[[], nn.Module], Tensor, list[Rule]]] = {
    "encoder": (Encoder, torch.empty(3, 40, 12, device="meta"), []),
    # its attention asks whether query, key and value are one and the same tensor
    "encoder, without dropout": (
        lambda: Encoder(dropout=0.0),
        torch.empty(3, 40, 12, device="meta"),
        [],
    ),
    "encoder, recomputed": (
        Encoder,
        torch.empty(3, 40, 12, device="meta"),
        [Rule(where="layers.<0-3>", seam="forward", use=recomputed())],
    ),
    "encoder, some on the host": (
        Encoder,
        torch.empty(3, 40, 12, device="meta"),
        [Rule(where="layers.<0-2>", seam="forward", use=recomputed(keep=Host(min_bytes=0)))],
    ),
    "encoder, sliced": (
        Encoder,
        torch.empty(8, 40, 12, device="meta"),
        [Rule(where="layers.<0-3>", seam="forward", use=sliced(2, in_dims={0: -3}, out_dims=-3))],
    ),
    "convolutions": (Convolutions, torch.empty(2, 3, 16, 16, device="meta"), []),
    "convolutions, recomputed": (
        Convolutions,
        torch.empty(2, 3, 16, 16, device="meta"),
        [Rule(where="blocks.<0-2>", seam="forward", use=recomputed())],
    ),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_models_are_rehearsed_to_the_byte(name: str) -> None:
    build, batch, rules = FOREIGN[name]
    plan = Plan(rules=tuple(rules))

    def step(model: nn.Module, x: Tensor) -> Tensor:
        return model(x)

    def adam(model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.AdamW(model.parameters())

    rehearsal = Rehearsal(build, step, batch, optimizer=adam, seconds_of=nothing)
    rehearsal.keep_apart({})
    assert units_of(rehearsal.model, {})
    found = rehearsal.under(plan)
    whole = simulate(
        lambda: apply(build(), plan), step, batch, optimizer=adam, updates=2, device="cpu"
    )
    assert found.peak == pytest.approx(whole.peaks[CPU], rel=1e-3)
    assert found.cost.flops * 2 == whole.flops


@dataclass
class Fields:
    """A batch of somebody's own class."""

    x: Tensor
    unread: Tensor


def test_a_batch_may_be_any_object() -> None:
    def step(model: nn.Module, batch: Fields) -> Tensor:
        return model(batch.x)

    batch = Fields(torch.empty(2, 50, 12), torch.empty(1000))
    model = Encoder()
    rehearsal = Rehearsal(model, step, batch, seconds_of=nothing)
    assert rehearsal.under(Plan()).peak == simulate(model, step, batch).peak


@lru_cache
def ones(size: int) -> Tensor:
    return torch.ones(size)


def test_what_functions_remember_of_fakes_is_forgotten() -> None:
    def masked(model: nn.Module, x: Tensor) -> Tensor:
        return model(x * ones(12))

    x = torch.randn(2, 50, 12)
    Rehearsal(Encoder(), masked, x, seconds_of=nothing).under(Plan())
    assert type(masked(Encoder(), x).detach()) is Tensor


class Asking(nn.Module):
    """Depends on values inside of what is recorded once and played."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Encoder(blocks=1)

    def forward(self, x: Tensor) -> Tensor:
        found = self.inner(x)
        return found * 2 if found.item() > 0 else found


@pytest.mark.parametrize("inside", [True, False])
def test_steps_that_depend_on_values_are_refused(inside: bool) -> None:
    def step(model: nn.Module, x: Tensor) -> Tensor:
        loss = model(x)
        return loss if inside else loss / loss.item()

    model = nn.Sequential(Asking()) if inside else Encoder(blocks=1)
    rehearsal = Rehearsal(model, step, torch.empty(2, 50, 12), seconds_of=nothing)
    with pytest.raises(CannotSimulateError, match=r"(?s)test_rehearsal.*mend: replace \.item\(\)"):
        rehearsal.under(Plan())


def test_attention_that_looks_into_its_mask_is_refused_with_a_mend() -> None:
    def step(model: nn.Module, x: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(20)
        return model(x, mask=mask).sum()

    layer = nn.TransformerEncoderLayer(32, 4, 64)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    rehearsal = Rehearsal(model, step, torch.empty(20, 2, 32), seconds_of=nothing)
    with pytest.raises(CannotSimulateError, match=r"(?s)test_rehearsal.*is_causal="):
        rehearsal.under(Plan())


class Up(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(16, 64), nn.Linear(64, 32)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(torch.relu(self.up(x)).tanh())


class Halves(Up):
    """Returns a part of what it has made."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[..., :16]


class Turned(Halves):
    """What it returns fills its storage, in another order."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).contiguous().transpose(0, 1)


class Counted(Halves):
    """Returns a number, too, as a tensor that it has just made."""

    def forward(self, x: Tensor) -> Any:
        found = super().forward(x).contiguous()
        return found, found.norm(), found.sum().view(1)


class Filling(Halves):
    """Returns nothing, but changes what it is given."""

    def forward(self, x: dict[str, Tensor]) -> None:
        x["x"] = super().forward(x["x"])


class Leaving(Halves):
    """Leaves something for whoever asks later."""

    def forward(self, x: Tensor) -> Tensor:
        self.found = [super().forward(x)]
        return self.found[0] * 2


def written(model: nn.Module, x: Tensor) -> Tensor:
    for layer in model.children():
        x = layer(x).mul_(2)
    return x.square().mean()


def turned_back(model: nn.Module, x: Tensor) -> Tensor:
    for layer in model.children():
        x = layer(x).relu_().transpose(0, 1)
    return x.square().mean()


def counted(model: nn.Module, x: Tensor) -> Tensor:
    total = x.new_zeros(1)
    for layer in model.children():
        x, number, again = layer(x)
        total = total + number * again
    return total.sum()


def filled(model: nn.Module, x: Tensor) -> Tensor:
    state = {"x": x}
    for layer in model.children():
        layer(state)
    return state["x"].square().mean()


def left(model: nn.Module, x: Tensor) -> Tensor:
    for layer in model.children():
        x = layer(x)
    return x.mean() + sum(layer.found[0].mean() for layer in model.children())  # type: ignore[index]


def penalty(model: nn.Module, x: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    out = model(x)
    (gradient,) = torch.autograd.grad(out.square().sum(), x, create_graph=True)
    return gradient.square().mean()


def in_turn(model: nn.Module, x: Tensor) -> Tensor:
    return model(x).square().mean()


HABITS: dict[str, tuple[Callable[[], nn.Module], Step]] = {
    "its caller writes to a part": (Halves, written),
    "its caller writes to what is turned": (Turned, turned_back),
    "it returns numbers": (Counted, counted),
    "it changes its arguments": (Filling, filled),
    "it leaves tensors behind": (Leaving, left),
    "its gradient is differentiated": (Halves, penalty),
    "its batch requires a gradient": (Halves, in_turn),
}


@pytest.mark.parametrize("name", HABITS)
def test_models_with_habits_are_rehearsed(name: str) -> None:
    kind, step = HABITS[name]
    batch = torch.empty(40, 50, 16, requires_grad=name == "its batch requires a gradient")
    model = nn.Sequential(*(kind() for _ in range(6)))
    rehearsal = Rehearsal(model, step, batch, seconds_of=nothing)
    whole = simulate(model, step, batch)
    first, second = rehearsal.under(Plan()).peak, rehearsal.under(Plan()).peak
    assert first == second  # one leaves nothing to the next
    output = 40 * 50 * 32 * 4
    assert first == pytest.approx(whole.peak, abs=output)
    assert whole.peak > 20 * output
    given: Any = rehearsal.batch
    assert given.grad is None
    assert all(p.grad is None for p in rehearsal.model.parameters())


def test_short_steps_are_run_and_long_ones_played() -> None:
    def operations(blocks: int) -> tuple[bool, int]:
        rehearsal = Rehearsal(
            lambda: Encoder(blocks), in_turn, torch.empty(2, 40, 12), seconds_of=nothing
        )
        rehearsal.under_watch(lambda _: None)
        return rehearsal.plays, rehearsal.operations

    (plays_few, few), (plays_many, many) = operations(2), operations(60)
    assert few < FEW < many
    assert (plays_few, plays_many) == (False, True)
