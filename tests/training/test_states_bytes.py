"""The bytes of parameters, gradients, Adam's states and averages, at rest and at their peak."""

import pytest
import torch
from torch import Tensor, nn

import sci_memeff
from sci_memeff.training import states
from sci_memeff.training.optimizer import ClippedMean
from sci_memeff.training.states import AdamWithAverage

from .small_nets import CONFIG, RELEASED


def stack() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(*[nn.Linear(64, 64) for _ in range(32)])


def loss_of(model: nn.Module, x: Tensor) -> Tensor:
    return model(x).float().square().mean()


@pytest.mark.parametrize(
    ("dtype", "at_rest", "in_all", "bucket"),
    [(torch.float32, 16, 20, 0), (torch.bfloat16, 18, 20, 4)],
)
@pytest.mark.parametrize("real", [True, False])
def test_bytes_per_parameter(monkeypatch, dtype, at_rest, in_all, bucket, real):
    """To the byte: nothing is made for an update but, in half precision, a bucket's gradients."""
    monkeypatch.setattr(states, "BUCKET", 64 * 64)
    model = stack().to(dtype)
    num = sum(p.numel() for p in model.parameters())
    counters = 4 * len(list(model.parameters()))
    x = torch.randn(1, 64, dtype=dtype)
    made = []

    def factory(model: nn.Module) -> AdamWithAverage:
        made.append(AdamWithAverage(model, CONFIG))
        return made[-1]

    if real:
        optimizer = factory(model)
        with sci_memeff.measure(model) as measured:
            for _ in range(3):
                loss_of(model, x).backward()
                optimizer.step()
    else:
        measured = sci_memeff.simulate(model, loss_of, x, optimizer=factory, updates=3)
    states_bytes = in_all * num + counters
    most = measured.by_phase["optimizer"].peak
    assert states_bytes <= most <= states_bytes + bucket * 64 * 64 + 2 * x.nbytes
    kinds = measured.by_kind
    element = torch.finfo(dtype).bits // 8
    assert kinds["optimizer"].highest == (at_rest - element) * num + counters
    assert kinds["gradients"].highest == element * num
    left = sum(v.nbytes for s in made[0].state.values() for v in s.values())
    assert left == (at_rest - element) * num + counters
    assert all(p.grad is None for p in made[0].param_groups[0]["params"])


@pytest.mark.parametrize(("samples", "per_parameter"), [(1, 20), (3, 24)])
def test_bytes_of_a_batch_of_clipped_gradients(samples, per_parameter):
    """From the second sample on there is a sum beside the gradient; both go with the update."""
    model = stack()
    num = sum(p.numel() for p in model.parameters())
    x = torch.randn(1, 64)
    optimizer = AdamWithAverage(model, CONFIG)
    with sci_memeff.measure(model) as measured:
        for _ in range(2):
            mean = ClippedMean(model.parameters(), 0.1)
            for _ in range(samples):
                loss_of(model, x).backward()
                mean.take()
            mean.put()
            optimizer.step()
    counters = 4 * len(list(model.parameters()))
    scalars = 100 * x.nbytes  # norms, and what the forward pass keeps
    assert scalars < num  # so that they hide no byte per parameter
    assert 0 <= measured.peak - per_parameter * num <= counters + scalars
    assert measured.by_phase["optimizer"].left <= 16 * num + counters + scalars


@pytest.mark.parametrize("real", [True, False])
def test_bytes_of_released_gradients(real):
    """Two parameters' gradients at a time, of 64."""
    model = stack()
    num = sum(p.numel() for p in model.parameters())
    counters = 4 * len(list(model.parameters()))
    largest = 4 * 64 * 64
    x = torch.randn(1, 64)
    if real:
        optimizer = AdamWithAverage(model, RELEASED)
        with sci_memeff.measure(model) as measured:
            for _ in range(3):
                loss_of(model, x).backward()
                optimizer.step()
    else:
        measured = sci_memeff.simulate(
            model, loss_of, x, optimizer=lambda m: AdamWithAverage(m, RELEASED), updates=3
        )
    kinds = measured.by_kind
    assert kinds["optimizer"].highest == 12 * num + counters
    assert kinds["gradients"].highest <= 2 * largest
    activations = 100 * x.nbytes
    assert activations < 2 * largest  # so that it hides no gradient
    assert 16 * num <= measured.peak <= 16 * num + counters + 2 * largest + activations
