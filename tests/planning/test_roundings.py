"""How many terms a gradient has, and that roundings stay within the tolerance that is claimed."""

import pytest
import torch
from torch import nn

from sci_memeff.planning.roundings import (
    ALLOWANCE,
    Terms,
    rounded_otherwise,
    rounding_tolerance,
)


class Own(nn.Module):
    """Holds a parameter that no module inside of it is called with."""

    def __init__(self) -> None:
        super().__init__()
        self.held = nn.Linear(4, 4)
        self.inner = nn.Linear(4, 6)

    def forward(self, x):
        return self.inner(x @ self.held.weight)


def test_terms_are_the_vectors_that_went_through():
    model = nn.Sequential(Own(), nn.LayerNorm(6))
    terms = Terms()
    with terms.counting(model):
        model(torch.ones(2, 5, 4))
    assert terms.of(model, "0.inner.weight") == 10
    assert terms.of(model, "0.held.weight") == 10  # of the module around
    assert terms.of(model, "1.bias") == 10
    assert terms.of(model, "the batch") == 10
    assert terms.dtype == torch.float32
    with terms.counting(model.double()):  # anew
        model(torch.ones(3, 4, dtype=torch.float64))
        model(torch.ones(3, 4, dtype=torch.float64))
    assert terms.of(model, "1.weight") == 6
    assert terms.dtype == torch.float32  # the narrowest so far
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("terms", [10, 1000, 100_000])
def test_sums_in_another_order_are_within_the_tolerance(dtype, terms):
    g = torch.Generator().manual_seed(terms)
    x = torch.randn(terms, 16, generator=g, dtype=torch.float64).to(dtype)
    wide = torch.float32 if dtype == torch.bfloat16 else dtype
    one, other = torch.zeros(16, dtype=wide), torch.zeros(16, dtype=wide)
    for part in x.split(max(terms // 50, 1)):
        one += part.to(wide).sum(0)
    for part in x.flip(0).split(max(terms // 7, 1)):
        other += part.to(wide).sum(0)
    error = float((one - other).norm() / other.norm())
    assert error <= rounding_tolerance(terms, dtype) / ALLOWANCE * 8


def test_half_precision_adds_up_in_single():
    assert rounding_tolerance(1, torch.bfloat16) == pytest.approx(ALLOWANCE * 2**-8, rel=0.01)
    assert rounding_tolerance(10**8, torch.bfloat16) < 0.25 + 64 * 6e-8 * 10**4
    assert rounding_tolerance(100, torch.float64) < 1e-12


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("narrowest", [torch.bfloat16, torch.float32])
def test_every_weight_is_rounded_otherwise(dtype, narrowest):
    model = nn.Linear(50, 50).to(dtype)
    before = {name: p.detach().double().clone() for name, p in model.named_parameters()}
    rounded_otherwise(model, narrowest)
    step = max(torch.finfo(narrowest).eps / 2, torch.finfo(dtype).eps)
    for name, p in model.named_parameters():
        change = (p.detach().double() / before[name] - 1) / step
        assert (change != 0).all()
        assert change.abs().max() < 2
        assert 0.3 < (change > 0).double().mean() < 0.7
