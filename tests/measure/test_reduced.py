"""A simulated loss takes the bytes of a real one until it is gone."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from sci_memeff.measure import measure, simulate

LOSSES = {
    "mse": functional.mse_loss,
    "summed": lambda x, y: functional.mse_loss(x, y, reduction="sum"),
    "each": lambda x, y: functional.mse_loss(x, y, reduction="none"),
    "broadcast": lambda x, y: functional.mse_loss(x[:, :1], y[:1].expand_as(y)),
    "one term": lambda x, y: functional.mse_loss(x[0, 0], y[0, 0]),
    "no term": lambda x, y: functional.mse_loss(x[:0], y[:0], reduction="sum"),
    "smooth": functional.smooth_l1_loss,
    "entropy": functional.binary_cross_entropy,
    "margin": functional.soft_margin_loss,
    "huber": functional.huber_loss,
    "l1": functional.l1_loss,
    "divergence": functional.kl_div,
}


@pytest.mark.filterwarnings("ignore:Using a target size", "ignore:reduction. 'mean' divides")
@pytest.mark.parametrize("name", LOSSES)
def test_losses_take_what_real_ones_take(name):
    x, y = torch.rand(30, 40), torch.rand(30, 40)

    def step(model, batch):
        loss = LOSSES[name](model(batch[0]).sigmoid(), batch[1])
        return loss.sum() if loss.dim() else loss

    model = nn.Linear(40, 40)
    simulated = simulate(model, step, (x, y))
    with measure(model) as real:
        step(model, (x, y)).backward()
    assert simulated.peak == real.peak
