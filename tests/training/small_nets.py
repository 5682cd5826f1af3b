"""A small network to update, and settings to do it by."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sci_memeff.training.config import OptimizerConfig

CONFIG = OptimizerConfig(learning_rate=1e-2, ema_decay=0.9)
RELEASED = OptimizerConfig(
    learning_rate=1e-2, ema_decay=0.9, clip_norm=None, batch_size=1, release_gradients=True
)


class Net(nn.Module):
    """Several shapes, one parameter frozen, one that no loss uses."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(7, 13), nn.Linear(13, 5)
        self.frozen = nn.Parameter(torch.randn(5), requires_grad=False)
        self.unused = nn.Parameter(torch.randn(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.two(torch.tanh(self.one(x))) * self.frozen


def net(dtype: torch.dtype = torch.float32) -> Net:
    torch.manual_seed(2)
    return Net().to(dtype)


def backward(model: nn.Module, seed: int) -> None:
    p = next(model.parameters())
    x = torch.randn(4, 7, generator=torch.Generator().manual_seed(seed))
    model(x.to(p.dtype)).float().square().sum().backward()
