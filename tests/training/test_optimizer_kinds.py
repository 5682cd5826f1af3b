"""Every kind of optimizer: what it keeps, that it learns, and that it goes on where it stopped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

import sci_memeff
from sci_memeff import Plan
from sci_memeff.errors import BadConfigError
from sci_memeff.planning.rehearsal import Rehearsal
from sci_memeff.training.config import GaLoreConfig, OptimizerConfig, OptimizerKind, SpikeConfig
from sci_memeff.training.loop import Parts, fit
from sci_memeff.training.presets import Preset
from sci_memeff.training.states import AdamWithAverage

from .standins import TinyModel, parts, settings
from .test_loop import Listening, numbers

KINDS: tuple[Any, ...] = get_args(OptimizerKind)
ONE_BY_ONE: Any = {"release_gradients": True, "clip_norm": None, "batch_size": 1}


def config(kind: Any, **changes: Any) -> OptimizerConfig:
    return OptimizerConfig(
        kind=kind,
        learning_rate=3e-3,
        beta2=0.99,
        ema_decay=0.9,
        galore=GaLoreConfig(rank=8, every=3),
        **changes,
    )


def net(dtype: torch.dtype = torch.float32) -> nn.Module:
    """Weights of whole blocks, of none, small ones, and one that no loss uses."""
    torch.manual_seed(2)
    layers = nn.Sequential(nn.Linear(64, 128), nn.Tanh(), nn.Linear(128, 67), nn.Linear(67, 4))
    layers.register_parameter("unused", nn.Parameter(torch.randn(3)))
    return layers.to(dtype)


def loss(model: nn.Module, x: Tensor) -> Tensor:
    y = x[:, :4].float().sin()
    return (model(x).float() - y).square().mean()


def batch(update: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(32, 64, generator=torch.Generator().manual_seed(update)).to(dtype)


def taught(model: nn.Module, optimizer: AdamWithAverage, updates: range) -> list[float]:
    dtype = next(model.parameters()).dtype
    losses = []
    for update in updates:
        found = loss(model, batch(update, dtype))
        found.backward()
        optimizer.step()
        losses.append(found.item())
    return losses


def same(one: Tensor, other: Tensor) -> bool:
    bits = (x.detach().contiguous().view(-1).view(torch.uint8) for x in (one, other))
    return one.dtype == other.dtype and torch.equal(*bits)


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_what_adam_learns(kind: str) -> None:
    model = net()
    losses = taught(model, AdamWithAverage(model, config(kind)), range(80))
    wanted = net()
    adam = taught(wanted, AdamWithAverage(wanted, config("adam")), range(80))
    assert losses[-1] < 0.5 * losses[0]
    assert losses[-1] < 1.5 * adam[-1]
    assert (losses == adam) == (kind in ("adam", "offloaded"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_the_average_is_of_the_weights(kind: str, dtype: torch.dtype) -> None:
    model = net(dtype)
    optimizer = AdamWithAverage(model, config(kind))
    averages: dict[nn.Parameter, Tensor] = {}
    for update in range(4):
        taught(model, optimizer, range(update, update + 1))
        for p, state in optimizer.state.items():
            weight = state.get("master", p).detach()
            before = averages.get(p)
            begun = (net(dtype)).get_parameter(_name(model, p)).detach().float()
            averages[p] = (begun if before is None else before).lerp(weight.float(), 0.1)
    for p, average in averages.items():
        torch.testing.assert_close(optimizer.average(p), average)
    with optimizer.averaged():
        for p, average in averages.items():
            torch.testing.assert_close(p, average.to(dtype), rtol=1e-2, atol=1e-6)
    unused = model.get_parameter("unused")
    assert same(optimizer.average(unused), unused)


def _name(model: nn.Module, parameter: nn.Parameter) -> str:
    return next(name for name, p in model.named_parameters() if p is parameter)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_loaded_states_go_on_bit_for_bit(kind: str, dtype: torch.dtype) -> None:
    whole, cut = net(dtype), net(dtype)
    one, other = AdamWithAverage(whole, config(kind)), AdamWithAverage(cut, config(kind))
    losses = taught(whole, one, range(7))
    begun = taught(cut, other, range(4))
    again = net(dtype)
    again.load_state_dict(cut.state_dict())
    resumed = AdamWithAverage(again, config(kind))
    resumed.load_state_dict(other.state_dict())
    assert begun + taught(again, resumed, range(4, 7)) == losses
    for p, q in zip(whole.parameters(), again.parameters(), strict=True):
        assert same(p, q)
        assert same(one.average(p), resumed.average(q))
        assert one.state.get(p, {}).keys() == resumed.state.get(q, {}).keys()
        for name, value in one.state.get(p, {}).items():
            assert same(value, resumed.state[q][name]), name


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "galore"])
def test_released_gradients_give_the_same_bits(kind: str) -> None:
    held, released = net(), net()
    one = AdamWithAverage(held, config(kind))
    other = AdamWithAverage(released, config(kind, **ONE_BY_ONE))
    assert taught(held, one, range(4)) == taught(released, other, range(4))
    for p, q in zip(held.parameters(), released.parameters(), strict=True):
        assert same(one.average(p), other.average(q))
        for name, value in one.state.get(p, {}).items():
            assert same(value, other.state[q][name])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("release", [False, True])
def test_its_bytes_are_known_beforehand(kind: str, release: bool) -> None:
    """Simulated to the byte, and the same in a planner's rehearsal; but for the host's share."""
    if release and kind == "galore":
        pytest.skip("does not go together")
    chosen = config(kind, **(ONE_BY_ONE if release else {}))

    def make(model: nn.Module) -> AdamWithAverage:
        return AdamWithAverage(model, chosen)

    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(64, 128), nn.Tanh(), nn.Linear(128, 67), nn.Linear(67, 4))

    x = batch(0)
    simulated = sci_memeff.simulate(build, loss, x, optimizer=make, updates=2)
    rehearsal = Rehearsal(build, loss, x, optimizer=make, seconds_of=lambda *_: 0.0)
    assert rehearsal.under(Plan()).peak == simulated.peak
    model = build()
    optimizer = make(model)
    with sci_memeff.measure(model) as real:
        for _ in range(2):
            loss(model, x).backward()
            optimizer.step()
    states = sum(x.nbytes for state in optimizer.state.values() for x in state.values())
    assert real.by_kind["optimizer"].highest == states
    if kind == "offloaded":
        assert simulated.by_kind["optimizer"].highest == 0
        assert simulated.peaks[torch.device("meta")] >= states
        assert simulated.peak < real.peak - 0.9 * states
    else:
        assert simulated.peak == real.peak


@pytest.mark.parametrize(
    ("kind", "per_parameter"),
    [
        ("adam", 12),
        ("offloaded", 12),
        ("adam8bit", 4 + 2 + 8 / 256),
        ("adamfp8", 4 + 2 + 8 / 256),
        ("adam4bit", 4 + 1 + 8 / 128),
        ("galore", 4 + 4 * (2 * 8 + 8) / 64),
    ],
)
def test_bytes_of_a_large_weight(kind: str, per_parameter: float) -> None:
    model = nn.Linear(64, 64, bias=False)
    optimizer = AdamWithAverage(model, config(kind))
    model(torch.randn(3, 64)).sum().backward()
    optimizer.step()
    states = sum(x.nbytes for x in optimizer.state[model.weight].values())
    assert states == per_parameter * 64 * 64 + 4


# in the loop


def wide() -> Parts:
    """Large enough for every kind to do what it is for."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return replace(parts(), model=TinyModel(256))


def run_of(kind: Any, **changes: Any) -> Preset:
    base = settings(steps=8, checkpoint_every=3, validate_every=4)
    optimizer = replace(base.optimizer, kind=kind, galore=GaLoreConfig(rank=16, every=3), **changes)
    return replace(base, optimizer=optimizer)


GUARDED: Any = {"spikes": SpikeConfig(ratio=50.0, reset_every=3, rewarm=2)}


@pytest.mark.parametrize(
    ("kind", "changes"),
    [(kind, {}) for kind in KINDS]
    + [(kind, GUARDED) for kind in ("adam", "adam8bit", "adam4bit", "adamfp8", "offloaded")]
    + [("adam8bit", ONE_BY_ONE), ("adam8bit", ONE_BY_ONE | GUARDED)],
)
def test_a_run_that_is_cut_is_resumed_bit_for_bit(
    tmp_path: Path, kind: str, changes: dict[str, Any]
) -> None:
    chosen = run_of(kind, **changes)
    whole = fit(wide(), chosen, tmp_path / "whole")
    kept = {name for s in whole.trainer.optimizer.state.values() for name in s}
    special = {"galore": "directions", "adam": "exp_avg_sq", "offloaded": "exp_avg_sq"}
    assert special.get(kind, "exp_avg_sq_scale") in kept
    for stop_at in (4, 7):
        folder = tmp_path / str(stop_at)
        with pytest.raises(RuntimeError, match="power cut"):
            fit(wide(), chosen, folder, reporter=Listening(stop_at))
        resumed = fit(wide(), chosen, folder, resume=True)
        assert numbers(folder) == numbers(tmp_path / "whole")
        assert resumed.scores == whole.scores
        pairs = zip(
            whole.trainer.model.parameters(), resumed.trainer.model.parameters(), strict=True
        )
        for p, q in pairs:
            one, other = whole.trainer.optimizer, resumed.trainer.optimizer
            assert same(one.average(p), other.average(q))
            for name, value in one.state.get(p, {}).items():
                assert same(value, other.state[q][name]), name


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(BadConfigError, match=r"(?s)galore with release_grad.*leave out release"):
        OptimizerConfig(kind="galore", **ONE_BY_ONE)
    for spikes in (SpikeConfig(ratio=50.0), SpikeConfig(reset_every=500)):
        with pytest.raises(BadConfigError, match=r"(?s)galore with spikes.*leave out spikes"):
            OptimizerConfig(kind="galore", spikes=spikes)
    assert OptimizerConfig(kind="galore").clip_norm == 0.1
