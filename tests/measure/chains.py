"""A network whose live bytes can be counted by hand."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

N = 64  # every matrix is N × N in float32
MATRIX = 4 * N * N
SCALAR = 4
PRODUCT = 2 * N**3  # FLOPs of one matrix product


class Chain(nn.Module):
    """x → tanh(x W) for each of `length` matrices; `segment` layers are one checkpoint, 0: none."""

    def __init__(self, length: int, segment: int = 0, *, frozen: bool = True) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(N, N, bias=False) for _ in range(length))
        self.segment = segment
        if frozen:
            self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        layers = list(self.layers)
        if not self.segment:
            return in_order(layers, x)
        for start in range(0, len(layers), self.segment):
            part = layers[start : start + self.segment]
            x = checkpoint(in_order, part, x, use_reentrant=False, preserve_rng_state=False)
        return x


def in_order(layers: list[nn.Module], x: Tensor) -> Tensor:
    for layer in layers:
        x = torch.tanh(layer(x))
    return x


def matrix(*, requires_grad: bool = True) -> Tensor:
    return torch.randn(N, N, requires_grad=requires_grad)


def step(model: nn.Module, x: Tensor) -> Tensor:
    return model(x).sum()
