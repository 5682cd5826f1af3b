"""One update: what it takes from each sample, and what it leaves."""

import pytest
import torch
from torch import nn

from sci_memeff.data.example import Example
from sci_memeff.training.config import OptimizerConfig
from sci_memeff.training.step import Trainer

from .standins import features

CPU = torch.device("cpu")
BATCH = 2


class Watched(nn.Module):
    """One weight, of which the loss is a multiple that dropout draws; notes what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.drawn: list[float] = []
        self.modes: list[bool] = []

    def forward(self, batch):
        self.modes.append(self.training)
        self.drawn.append(float(torch.rand(())))
        true = batch["all_atom_positions"][..., -1]
        return {"final_atom_positions": true, "value": self.weight * (1 + self.drawn[-1])}


def loss(outputs, features):
    return outputs["value"], {"value": outputs["value"]}


def trainer(**changes) -> Trainer:
    config = {"learning_rate": 0.1, "warmup_samples": 8, "batch_size": BATCH, "ema_decay": 0.5}
    return Trainer(Watched(), loss, OptimizerConfig(**config | changes), seed=3, device=CPU)


def advance(one: Trainer, updates: int = 1) -> list:
    stream = iter([(k, Example(f"walk_{k}", features(k))) for k in range(one.next_sample, 20)])
    reports = [one.advance(stream, lambda: False) for _ in range(updates)]
    assert None not in reports
    return reports


def test_warm_up_counts_samples_and_not_updates():
    rates = [report.learning_rate for report in advance(trainer(), 5)]
    assert rates == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1])


def test_every_sample_draws_its_own_noise_and_the_same_again():
    one, other = trainer(), trainer()
    advance(one, 3)
    advance(other, 2)
    advance(other, 1)
    assert len(set(one.model.drawn)) == 3 * BATCH
    assert one.model.drawn == other.model.drawn
    state = torch.get_rng_state()
    advance(one)
    assert torch.equal(torch.get_rng_state(), state)  # nobody else's numbers are used up


def test_the_model_is_in_training_mode():
    one = trainer()
    one.model.eval()
    advance(one)
    assert one.model.modes == [True] * BATCH


def test_the_average_follows_the_weights():
    one = trainer()
    before = one.model.weight.item()
    advance(one)
    after = one.model.weight.item()
    assert after < before
    assert one.optimizer.average(one.model.weight).item() == pytest.approx((before + after) / 2)


def test_a_report_is_the_mean_of_the_batch():
    one = trainer(clip_norm=0.5)
    (report,) = advance(one)
    assert report.names == ("walk_0", "walk_1")
    assert (report.step, report.next_sample, report.updated) == (1, 2, True)
    mean = sum(1 + drawn for drawn in one.model.drawn) / BATCH
    assert report.loss == report.terms["value"] == pytest.approx(mean)
    assert report.gradient_norm == pytest.approx(mean)  # before clipping
    assert report.lddt_ca == 1.0


def test_a_step_that_is_stopped_has_not_begun():
    one = trainer()
    stream = iter([(k, Example(f"walk_{k}", features(k))) for k in range(20)])
    answers = iter([False, True])
    assert one.advance(stream, lambda: next(answers)) is None
    assert (one.step, one.next_sample, one.model.weight.item()) == (0, 0, 1.0)
    assert one.model.weight.grad is None


ONE = {"batch_size": 1, "clip_norm": None}


def test_released_gradients_make_the_same_run():
    held, released = trainer(**ONE), trainer(**ONE, release_gradients=True)
    for one, other in zip(advance(held, 5), advance(released, 5), strict=True):
        assert (one.loss, one.learning_rate, one.updated) == (
            other.loss,
            other.learning_rate,
            other.updated,
        )
        assert one.gradient_norm == pytest.approx(other.gradient_norm)
        assert one.gradient_norm > 0
    weights = [one.model.weight for one in (held, released)]
    assert torch.equal(*weights)
    averages = [one.optimizer.average(one.model.weight) for one in (held, released)]
    assert torch.equal(*averages)


@pytest.mark.parametrize("release", [False, True])
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_what_is_not_finite_is_not_learnt_from(release, where):
    one = trainer(**ONE, release_gradients=release)
    advance(one)
    before = one.model.weight.item(), one.optimizer.state_dict()["state"][0]["exp_avg"].item()
    bad = float("nan")

    def broken(outputs, features):
        value = outputs["value"] * (bad if where == "loss" else 1.0)
        if where == "gradient":
            value.register_hook(lambda gradient: gradient * bad)
        return value, {"value": value}

    one.loss = broken
    (report,) = advance(one)
    assert not report.updated
    assert report.problem.startswith(f"walk_1: the {'loss' if where == 'loss' else 'gradient'}")
    after = one.model.weight.item(), one.optimizer.state_dict()["state"][0]["exp_avg"].item()
    assert after == before
    one.loss = loss
    (report,) = advance(one)
    assert report.updated
    assert one.model.weight.item() < before[0]


class Broken(Watched):
    """Has a layer that makes a NaN of one sample."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Layer()

    def forward(self, batch):
        found = super().forward(batch)
        return {**found, "value": self.layer(found["value"])}


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.times = 0

    def forward(self, x):
        self.times += 1
        return x * (float("nan") if self.times in (2, 3) else 1.0)


def test_the_module_that_made_a_nan_is_reported():
    one = trainer()
    one.model = Broken()
    first, second = advance(one, 2)
    assert not first.updated
    assert first.problem == (
        "walk_1: the loss is nan (terms not finite: value), since layer made a NaN of inputs that "
        "held none"
    )
    assert second.updated
    assert one.model.drawn[2] == one.model.drawn[1]  # looked at once more, with the same noise
    assert len(one.model.drawn) == 2 * BATCH + 1
