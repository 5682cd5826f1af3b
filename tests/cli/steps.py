"""Functions that a user might name on the command line as tests.cli.steps:FUNCTION."""

from __future__ import annotations

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Sequential(nn.Linear(8, width), nn.Tanh(), nn.Linear(width, 8)) for _ in range(3))
        )

    def forward(self, x):
        return self.layers(x)


def step(model, batch):
    return model(batch["x"]).square().mean()


def example():
    torch.manual_seed(0)
    return Net(), step, {"x": torch.randn(32, 8)}


def with_optimizer():
    model, step, batch = example()
    return model, step, batch, lambda model: torch.optim.Adam(model.parameters())


def two_things():
    return 1, 2


def nothing():
    return None


not_a_function = 3
