"""The schedule in closed form, and clipping against torch's own."""

import math

import pytest
import torch
from torch import nn

from sci_memeff.errors import BadConfigError
from sci_memeff.training.config import OptimizerConfig
from sci_memeff.training.optimizer import ClippedMean, learning_rate


def test_learning_rate_warms_up_and_decays_once():
    config = OptimizerConfig()
    assert learning_rate(config, 128) == pytest.approx(1e-3 * 128 / 128_000)
    assert learning_rate(config, 64_000) == pytest.approx(5e-4)
    assert learning_rate(config, 128_000) == pytest.approx(1e-3)
    assert learning_rate(config, 6_400_000) == pytest.approx(1e-3)
    assert learning_rate(config, 6_400_128) == pytest.approx(9.5e-4)
    assert learning_rate(config, 10_000_000) == pytest.approx(9.5e-4)


def test_learning_rate_without_warm_up_is_whole_at_once():
    config = OptimizerConfig(learning_rate=5e-4, warmup_samples=0)
    assert learning_rate(config, 1) == 5e-4


def gradients(model: nn.Module, inputs: torch.Tensor) -> list[torch.Tensor]:
    model.zero_grad()
    model(inputs).square().sum().backward()
    return [parameter.grad.clone() for parameter in model.parameters()]


@pytest.mark.parametrize("clip_norm", [0.1, 1e9, None])
def test_each_sample_is_clipped_before_the_mean(clip_norm):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    inputs = torch.randn(3, 5, 3, dtype=torch.float64)
    wanted = [torch.zeros_like(parameter) for parameter in model.parameters()]
    norms = []
    for sample in inputs:
        found = gradients(model, sample)
        norm = math.sqrt(sum(float(g.square().sum()) for g in found))
        norms.append(norm)
        for total, gradient in zip(wanted, found, strict=True):
            total += gradient * min(1.0, (clip_norm or norm) / norm) / 3
    model.zero_grad()
    mean = ClippedMean(model.parameters(), clip_norm)
    for sample, norm in zip(inputs, norms, strict=True):
        model(sample).square().sum().backward()
        assert mean.take() == pytest.approx(norm)
    mean.put()
    for parameter, total in zip(model.parameters(), wanted, strict=True):
        torch.testing.assert_close(parameter.grad, total)
    assert max(norms) > 0.1  # so that the smaller limit does something


def test_parameter_that_only_some_samples_use_is_averaged_over_all():
    one, two = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    mean = ClippedMean([one, two], 10.0)
    (2.0 * one).sum().backward()
    mean.take()
    (3.0 * two).sum().backward()
    mean.take()
    mean.put()
    assert one.grad is not None
    assert two.grad is not None
    assert (one.grad.item(), two.grad.item()) == (1.0, 1.5)


def test_gradient_that_is_not_finite_is_dropped():
    one = nn.Parameter(torch.ones(1))
    mean = ClippedMean([one], 10.0)
    (one * float("nan")).sum().backward()
    assert math.isnan(mean.take())
    assert mean.count == 0
    assert one.grad is None


def test_zero_gradient_stays_zero():
    one = nn.Parameter(torch.ones(1))
    mean = ClippedMean([one], 0.1)
    (0.0 * one).sum().backward()
    assert mean.take() == 0.0
    mean.put()
    assert one.grad is not None
    assert one.grad.item() == 0.0


@pytest.mark.parametrize("samples", [1, 2, 50])
def test_half_precision_is_summed_in_float32_and_measured_so(samples):
    torch.manual_seed(0)
    one = nn.Parameter(torch.zeros(1000, dtype=torch.bfloat16))
    mean = ClippedMean([one], 1e9)
    wanted = torch.zeros(1000)
    for _ in range(samples):
        gradient = torch.randn(1000).bfloat16()
        wanted += gradient.float()
        one.grad = gradient.clone()
        assert mean.take() == pytest.approx(float(gradient.float().norm()), rel=1e-6)
        assert one.grad is None
    mean.put()
    assert one.grad is not None
    assert torch.equal(one.grad, (wanted / samples).bfloat16())


def test_gradients_that_are_released_cannot_be_clipped_or_added_up():
    fine = {"release_gradients": True, "clip_norm": None, "batch_size": 1}
    assert OptimizerConfig(**fine).release_gradients
    for wrong in ({"clip_norm": 0.1}, {"batch_size": 2}):
        with pytest.raises(
            BadConfigError, match=r"(?s)release_gradients with .*set batch_size to 1 and clip_norm"
        ):
            OptimizerConfig(**fine | wrong)
