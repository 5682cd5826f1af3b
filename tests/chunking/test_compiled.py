"""Walks of compiled functions; the functions are not the package's, whose shapes are checked."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sci_memeff.chunking import walk

from .modules import answer, assert_same, double


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4)
        self.linear = nn.Linear(4, 6)

    def rows(self, x: Tensor, y: Tensor) -> Tensor:
        return self.linear(self.norm(x)).sigmoid() @ y.transpose(-1, -2)

    forward = rows


@pytest.mark.parametrize("what", ["method", "module", "seam"])
def test_a_compiled_function(what):
    torch.compiler.reset()
    module = double(Layer())
    x = torch.randn(2, 7, 4, dtype=torch.float64, requires_grad=True)
    y = torch.randn(2, 3, 6, dtype=torch.float64, requires_grad=True)
    wanted = [x, y, *module.parameters()]
    plain = answer(lambda: module.rows(x, y), wanted)
    assert all(gradient is not None for gradient in plain)
    fn = torch.compile(module if what == "module" else module.rows, backend="aot_eager")
    if what == "seam":
        module.rows = fn
        fn = module.rows
    for _ in range(2):
        found = answer(
            lambda: walk(fn, rows=(x,), shared=(y,), in_dims=-2, out_dims=-2, size=3), wanted
        )
        assert_same(found, plain)
