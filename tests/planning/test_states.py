"""What optimizers take, those that look at values or put their states elsewhere included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from sci_memeff import Plan
from sci_memeff.measure import measure
from sci_memeff.planning.rehearsal import Rehearsal


class Own(Optimizer):
    """Its states are on the default device, and it reads values."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for p in self.param_groups[0]["params"]:
            state = self.state[p]
            if not state:
                state["rows"] = torch.zeros(p.shape[:1])
                state["far"] = torch.zeros_like(p)
            state["far"].lerp_(p.grad, 0.1)
            state["rows"].add_(p.grad.flatten(1).sum(1) if p.dim() > 1 else p.grad)
            norm = p.norm().item()
            p.sub_(state["far"] * (0.1 * max(norm, 1e-3)))


OPTIMIZERS: dict[str, Callable[[Any], Optimizer]] = {
    "plain": lambda ps: torch.optim.SGD(ps, 0.1),
    "one by one": lambda ps: torch.optim.AdamW(ps, foreach=False, amsgrad=True),
    "all at once": lambda ps: torch.optim.AdamW(ps, foreach=True),
    "fused": lambda ps: torch.optim.AdamW(ps, fused=True),
    "that reads values": lambda ps: torch.optim.Adafactor(ps),
    "own": Own,
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_s_bytes_are_those_of_a_real_step(name: str) -> None:
    def make(model: nn.Module) -> Optimizer:
        return OPTIMIZERS[name](model.parameters())

    def step(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return model(x).square().mean()

    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(64, 256), nn.Tanh(), nn.Linear(256, 64))

    x = torch.randn(3, 64)
    rehearsal = Rehearsal(build, step, x, optimizer=make, seconds_of=lambda *_: 0.0)
    model = build()
    optimizer = make(model)
    with measure(model) as real:
        for _ in range(2):
            step(model, x).backward()
            optimizer.step()
            optimizer.zero_grad()
    found = rehearsal.under(Plan())
    assert found.peak == pytest.approx(real.peak, rel=1e-3)
