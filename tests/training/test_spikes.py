"""The guard against spikes: what it cuts and tells, and a loss that recovers from one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sci_memeff.data.example import Example
from sci_memeff.errors import BadConfigError
from sci_memeff.training.config import OptimizerConfig, OptimizerKind, RunConfig, SpikeConfig
from sci_memeff.training.loop import Parts, fit
from sci_memeff.training.optimizer import learning_rate
from sci_memeff.training.presets import Preset
from sci_memeff.training.spikes import HISTORY, Cut, SpikeGuard, rewarmed
from sci_memeff.training.states import AdamWithAverage

from .standins import features
from .test_loop import Listening, numbers, rows

GUARDED: tuple[OptimizerKind, ...] = ("adam", "adam8bit", "adam4bit", "adamfp8", "offloaded")


def test_values_beyond_their_bounds_are_cut_to_them() -> None:
    p = nn.Parameter(torch.zeros(5))
    guard = SpikeGuard({p: "weight"}, ratio=100.0, beta2=0.9)
    step = torch.tensor(20.0)
    usual = torch.tensor([1.0, 1.0, 4.0, 0.0, 1.0])  # squares; the fourth never had a gradient
    second = usual * (1 - 0.9**20)
    gradient = torch.tensor([9.0, -11.0, 30.0, 1e6, 0.0])
    guard.cut(p, gradient, second, step)
    torch.testing.assert_close(gradient, torch.tensor([9.0, -10.0, 20.0, 1e6, 0.0]))
    cut = guard.told()
    assert cut is not None
    assert (cut.values, cut.parameters, cut.most) == (2, 1, "weight")
    assert cut.norm_before == pytest.approx(math.sqrt(81 + 121 + 900 + 1e12))
    assert not cut.is_notable
    assert guard.told() is None  # once


def test_nothing_is_cut_before_there_is_a_history() -> None:
    p = nn.Parameter(torch.zeros(3))
    guard = SpikeGuard({p: "weight"}, ratio=4.0, beta2=0.9)
    for step in range(HISTORY + 1):
        gradient = torch.full((3,), 100.0)
        guard.cut(p, gradient, torch.ones(3), torch.tensor(float(step)))
        assert (gradient < 100.0).all() == (step == HISTORY)
    cut = guard.told()
    assert cut is not None
    assert cut.values == 3


def test_what_was_cut_is_told_in_words() -> None:
    cut = Cut(values=1234, parameters=2, most="one.weight", norm_before=1e6, norm_after=2.0)
    assert cut.is_notable
    assert str(cut) == (
        "gradient spike: 1,234 values in 2 parameters cut, most in one.weight; "
        "the norm went from 1e+06 to 2"
    )


def test_a_gradient_that_is_not_a_number_stays_one() -> None:
    p = nn.Parameter(torch.zeros(2))
    guard = SpikeGuard({p: "weight"}, ratio=4.0, beta2=0.9)
    gradient = torch.tensor([math.nan, 9.0])
    guard.cut(p, gradient, torch.ones(2), torch.tensor(50.0))
    assert gradient[0].isnan()
    assert gradient[1] < 3.0


def test_the_rate_rises_again_after_a_reset() -> None:
    spikes = SpikeConfig(reset_every=10, rewarm=3)
    found = [rewarmed(spikes, updates) for updates in range(23)]
    rising = [0.5 * (1 - math.cos(math.pi * k / 4)) for k in (1, 2, 3)]
    assert found[:10] == [1.0] * 10
    assert found[10:20] == pytest.approx([*rising, *[1.0] * 7])
    assert found[20:] == pytest.approx(rising)
    assert [rewarmed(SpikeConfig(), k) for k in (0, 10, 10_000)] == [1.0] * 3
    config = OptimizerConfig(learning_rate=2.0, warmup_samples=0, batch_size=4, spikes=spikes)
    rates = [learning_rate(config, 4 * (update + 1)) for update in range(12)]
    assert rates == pytest.approx([2 * factor for factor in found[:12]])


def test_a_rate_that_would_never_be_whole_is_refused() -> None:
    with pytest.raises(BadConfigError, match=r"(?s)reset_every is 100 and .*set rewarm to less"):
        SpikeConfig(reset_every=100)
    assert not SpikeConfig().is_on
    assert SpikeConfig(ratio=5000.0).is_on
    assert SpikeConfig(reset_every=500).is_on


# a spike in a run

UPDATES, SPIKE = 300, 30


def losses(
    kind: OptimizerKind, spikes: SpikeConfig, *, spiked: bool = True, reset_at: int | None = None
) -> list[float]:
    """Of a regression; at one update all gradients are a million times too large."""
    torch.manual_seed(0)
    model, teacher = (
        nn.Sequential(nn.Linear(32, 160), nn.Tanh(), nn.Linear(160, 4)) for _ in range(2)
    )
    with torch.no_grad():
        for p in teacher.parameters():
            p.mul_(3)
    optimizer = AdamWithAverage(model, OptimizerConfig(kind=kind, spikes=spikes))
    found = []
    for update in range(UPDATES):
        if update == reset_at:
            optimizer.reset_moments()
        x = torch.randn(64, 32, generator=torch.Generator().manual_seed(update))
        loss = (model(x) - teacher(x).detach()).square().mean()
        loss.backward()
        if spiked and update == SPIKE:
            for p in model.parameters():
                assert p.grad is not None
                p.grad.mul_(1e6)
        optimizer.step()
        cut = optimizer.cut()
        if spikes.ratio is not None and update == SPIKE:
            assert (cut is not None and cut.is_notable) == spiked
        found.append(loss.item())
    return found


@pytest.mark.parametrize("kind", GUARDED)
def test_a_loss_recovers_from_a_spike_with_the_guard_and_not_without(kind: OptimizerKind) -> None:
    curves = {
        "calm": losses(kind, SpikeConfig(), spiked=False),
        "hit": losses(kind, SpikeConfig()),
        "guarded": losses(kind, SpikeConfig(ratio=5000.0)),
        "reset": losses(kind, SpikeConfig(), reset_at=100),
    }
    assert curves["calm"][: SPIKE + 1] == curves["hit"][: SPIKE + 1]
    end = {name: sum(curve[-20:]) / 20 for name, curve in curves.items()}
    assert end["calm"] < 0.5 * curves["calm"][SPIKE]
    assert end["guarded"] < 1.2 * end["calm"]
    assert end["reset"] < 1.2 * end["calm"]
    assert end["hit"] > 2 * end["calm"]


def test_an_ordinary_run_is_left_as_it_is() -> None:
    assert losses("adam", SpikeConfig(ratio=1e9), spiked=False) == losses(
        "adam", SpikeConfig(), spiked=False
    )


def test_moments_begin_anew() -> None:
    for kind in GUARDED:
        model = nn.Linear(64, 64)
        optimizer = AdamWithAverage(model, OptimizerConfig(kind=kind))
        for _ in range(3):
            model(torch.randn(3, 64)).sum().backward()
            optimizer.step()
        average = optimizer.average(model.weight).clone()
        optimizer.reset_moments()
        state = optimizer.state[model.weight]
        assert torch.equal(state.pop("average"), average)
        assert {"step", "exp_avg", "exp_avg_sq"} <= state.keys()
        assert all((x.float() == 0).all() for x in state.values())
        assert (optimizer.moments.second(state, model.weight) == 0).all()
    # the next update is a first one
    fresh = nn.Linear(4, 4)
    begun = nn.Linear(4, 4)
    begun.load_state_dict(fresh.state_dict())
    one, other = (AdamWithAverage(m, OptimizerConfig()) for m in (fresh, begun))
    begun(torch.ones(1, 4)).sum().backward()
    other.step()
    other.reset_moments()
    begun.load_state_dict(fresh.state_dict())
    for model, optimizer in ((fresh, one), (begun, other)):
        model(torch.ones(1, 4)).sum().backward()
        optimizer.step()
    assert torch.equal(fresh.weight, begun.weight)


# in the loop


class _Spiky(nn.Module):
    """Learns where atoms are; its loss is a million times too large for one sample."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(64, 37 * 3)
        self.register_buffer("inputs", torch.randn(12, 64))

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        positions = self.out(self.inputs).unflatten(-1, (37, 3))
        scale = batch["scale"][..., -1].max()
        return {
            "final_atom_positions": positions[None],
            "final_atom_mask": batch["all_atom_mask"][..., -1],
            "plddt": torch.full((1, 12), 50.0),
            "scale": scale,
        }


def _loss(outputs: Any, features: Any) -> tuple[Tensor, dict[str, Tensor]]:
    error = outputs["final_atom_positions"] - features["all_atom_positions"]
    value = (error.square().sum(-1) * features["all_atom_mask"]).mean() * outputs["scale"]
    return value, {"position": value}


class _Data:
    def __getitem__(self, k: int) -> Example:
        found = features(0)
        scale = torch.full((12, 2), 1e6 if k == 14 else 1.0).numpy()
        return Example(name=f"walk_{k}", features=found | {"scale": scale})


def parts() -> Parts:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = _Spiky()
    return Parts(model, _loss, _Data(), [])


SETTINGS = Preset(
    name="spiky",
    optimizer=OptimizerConfig(
        learning_rate=1e-2,
        warmup_samples=0,
        batch_size=1,
        clip_norm=None,
        spikes=SpikeConfig(ratio=5000.0, reset_every=20, rewarm=5),
    ),
    run=RunConfig(steps=30, checkpoint_every=5, validate_every=0),
)


def test_what_a_spike_did_is_told_and_written(tmp_path: Path) -> None:
    listening = Listening()
    fit(parts(), SETTINGS, tmp_path / "run", reporter=listening)
    table = rows(tmp_path / "run")
    assert [row["step"] for row in table if int(row["cut_values"])] == ["15"]
    assert float(table[14]["cut_to"]) < 1e-3
    assert {row["cut_to"] for row in table[:14] + table[15:]} == {"1.0"}
    assert [row["step"] for row in table if int(row["was_reset"])] == ["21"]
    rates = [float(row["learning_rate"]) for row in table]
    assert rates[:20] == [1e-2] * 20
    assert rates[20] < rates[21] < rates[24] < rates[25] == 1e-2
    told = [line for line in listening.lines if "spike" in line or "anew" in line]
    assert len(told) == 2
    assert told[0].startswith("step 15: gradient spike: ")
    assert "out.weight" in told[0]
    assert told[1] == "step 21: the optimizer's moments began anew"
    for stop_at in (14, 15, 16, 20, 21):
        folder = tmp_path / str(stop_at)
        with pytest.raises(RuntimeError, match="power cut"):
            fit(parts(), SETTINGS, folder, reporter=Listening(stop_at))
        fit(parts(), SETTINGS, folder, resume=True)
        assert numbers(folder) == numbers(tmp_path / "run")
