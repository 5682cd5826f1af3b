"""Random modules, of which it is known along which axes they mix rows: only these are unlisted."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor, nn

from sci_memeff.chunking.probing import independent_axes

from .test_probe import meta

LENGTHS = {"a": 40, "b": 40, "c": 6, "d": 25}


class Step(nn.Module):
    """An operation along `dim`, as `kind` says; `transpose` exchanges two axes."""

    def __init__(self, kind: str, dim: int, width: int) -> None:
        super().__init__()
        self.kind, self.dim = kind, dim
        self.weight = nn.Parameter(
            torch.randn(width, width) if kind == "linear" else torch.ones(())
        )

    def forward(self, x: Tensor) -> Tensor:
        match self.kind:
            case "linear":
                return (x.movedim(self.dim, -1) @ self.weight).movedim(-1, self.dim)
            case "softmax":
                return x + x.softmax(self.dim)
            case "sum":
                return x + 1e-6 * self.weight * x.sum(self.dim, keepdim=True)
            case "largest":
                return x - 0.1 * x.amax(self.dim, keepdim=True)
            case "shift":
                return x + 0.1 * x.roll(7, self.dim)
            case "positions":
                shape = [1] * x.ndim
                shape[self.dim] = -1
                return x + 0.01 * torch.arange(x.shape[self.dim], dtype=x.dtype).reshape(shape)
            case "transpose":
                return x.transpose(self.dim, self.dim - 1)
        return torch.sin(self.weight * x)


@pytest.mark.parametrize("seed", range(60))
def test_random_modules(seed):
    choose = random.Random(seed)
    names, mixed, steps = list("abcd"), set(), []
    for _ in range(choose.randint(1, 6)):
        kinds = ["sin", "sin", "transpose", "linear", "softmax", "sum", "largest", "shift"]
        kind = choose.choice([*kinds, "positions"])
        place = choose.randrange(1, 4)
        steps.append(Step(kind, place - 4, LENGTHS[names[place]]))
        if kind == "transpose":
            names[place - 1], names[place] = names[place], names[place - 1]
        elif kind != "sin":
            mixed.add(names[place])
    found = independent_axes(nn.Sequential(*steps), (meta(*LENGTHS.values()),))
    wanted = {
        (((0, i - 4),), names.index(name) - 4, LENGTHS[name])
        for i, name in enumerate("abcd")
        if name not in mixed
    }
    assert {(one.in_dims, one.out_dims, one.length) for one in found} == wanted
