"""Moments in low bits against torchao's own optimizers, parameter by parameter."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sci_memeff.errors import MissingPackageError
from sci_memeff.training import states
from sci_memeff.training.config import OptimizerConfig
from sci_memeff.training.moments.low_bit import LowBit
from sci_memeff.training.states import AdamWithAverage

KINDS = ["adam8bit", "adam4bit", "adamfp8"]
# in blocks of 256, in blocks of 128 alone, in none, and too small
SHAPES = [(64, 80), (256, 33), (129, 128), (71, 77), (31, 33), (5,), (5120,)]


def torchao_s(kind: str) -> type[torch.optim.Optimizer]:
    import torchao.optim

    names = {"adam8bit": "AdamW8bit", "adam4bit": "AdamW4bit", "adamfp8": "AdamWFp8"}
    return getattr(torchao.optim, names[kind])


def parameters() -> nn.ParameterList:
    torch.manual_seed(3)
    return nn.ParameterList([torch.randn(shape) for shape in SHAPES])


def gradients(updates: int) -> Iterator[list[Tensor | None]]:
    """Of very different sizes; those of the second parameter are missing now and then."""
    torch.manual_seed(4)
    for update in range(updates):
        sizes = [torch.randn(shape) * 10.0 ** torch.randn(shape) for shape in SHAPES]
        yield [None if k == 1 and update % 3 == 1 else g for k, g in enumerate(sizes)]


def run(optimizer: torch.optim.Optimizer, model: nn.Module, updates: int) -> None:
    for given in gradients(updates):
        for p, gradient in zip(model.parameters(), given, strict=True):
            p.grad = None if gradient is None else gradient.clone()
        with torch.compiler.set_stance("force_eager"):  # torchao's compiles one for each shape
            optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("bucket", [1, 10_000, 1 << 20])
@pytest.mark.parametrize("kind", KINDS)
def test_the_bits_are_those_of_torchao_s_optimizer(
    kind: str, bucket: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states, "BUCKET", bucket)
    ours, theirs = parameters(), parameters()
    config = OptimizerConfig(kind=kind, learning_rate=1e-2)  # type: ignore[arg-type]
    mine = AdamWithAverage(ours, config)
    other = torchao_s(kind)(theirs.parameters(), lr=1e-2, eps=config.eps, weight_decay=0.0)  # type: ignore[call-arg]
    run(mine, ours, 5)
    run(other, theirs, 5)
    large = 0
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        if "exp_avg_scale" not in mine.state[p]:
            torch.testing.assert_close(p, q)  # torch's Adam and torchao's round differently
            assert not hasattr(other.state[q]["exp_avg"], "codes")
            continue
        large += 1
        assert torch.equal(p, q)
        for name in ("exp_avg", "exp_avg_sq"):
            found: Any = other.state[q][name]
            codes = mine.state[p][name]
            assert torch.equal(codes.view(torch.uint8), found.codes.view(-1).view(torch.uint8))
            assert torch.equal(mine.state[p][name + "_scale"], found.scale)
    assert large == (4 if kind == "adam4bit" else 3)


@pytest.mark.parametrize(
    ("kind", "per_value"), [("adam8bit", 1), ("adam4bit", 0.5), ("adamfp8", 1)]
)
def test_what_is_kept(kind: str, per_value: float) -> None:
    model = parameters()
    optimizer = AdamWithAverage(model, OptimizerConfig(kind=kind))  # type: ignore[arg-type]
    run(optimizer, model, 2)
    large = next(iter(model.parameters()))
    block = 128 if kind == "adam4bit" else 256
    held = {name: value.nbytes for name, value in optimizer.state[large].items()}
    num = large.numel()
    assert held == {
        "step": 4,
        "exp_avg": per_value * num,
        "exp_avg_scale": 4 * num / block,
        "exp_avg_sq": per_value * num,
        "exp_avg_sq_scale": 4 * num / block,
        "average": 4 * num,
    }
    for p in model.parameters():
        expected = optimizer.states_of(p)
        assert {n: (v.shape, v.dtype) for n, v in optimizer.state[p].items()} == {
            n: (v.shape, v.dtype) for n, v in expected.items()
        }


@pytest.mark.parametrize("kind", KINDS)
def test_a_refused_update_leaves_everything(kind: str) -> None:
    moments = LowBit(kind)
    group = {"lr": 1e-2, "betas": (0.9, 0.999), "eps": 1e-6}
    weights = [torch.randn(64, 80), torch.randn(5)]
    kept = [moments.begun(weight, group) for weight in weights]

    def update(gradient: float, refused: float) -> list[Tensor]:
        given = [torch.full_like(weight, gradient) for weight in weights]
        moments.update(weights, given, kept, group, torch.tensor(refused))
        return [x.view(-1).view(torch.uint8).clone() for s in kept for x in (*s.values(), *weights)]

    first = update(0.3, 0.0)
    same = update(float("nan"), 1.0)
    assert all(torch.equal(one, other) for one, other in zip(first, same, strict=True))
    then = update(0.1, 0.0)
    assert all(x.isfinite().all() for x in weights)
    assert not all(torch.equal(one, other) for one, other in zip(first, then, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_second_moments_are_decoded(kind: str) -> None:
    moments = LowBit(kind)
    group = {"lr": 1e-2, "betas": (0.9, 0.75), "eps": 1e-6}
    weight, gradient = torch.zeros(64, 80), torch.rand(64, 80) + 0.5
    state = moments.begun(weight, group)
    assert torch.equal(moments.second(state, weight), torch.zeros(64, 80))
    moments.update([weight], [gradient], [state], group, None)
    found = moments.second(state, weight)
    wanted = 0.25 * gradient.square()
    assert (found - wanted).abs().max() < 0.05 * wanted.max()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in sys.modules if n.partition(".")[0] == "torchao"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torchao", None)
    with pytest.raises(MissingPackageError, match=r"(?s)torchao.*pip install 'sci-memeff\[prec"):
        AdamWithAverage(nn.Linear(2, 2), OptimizerConfig(kind="adam8bit"))
