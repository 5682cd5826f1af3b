"""What is alive while a walk is evaluated and differentiated: one slice."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sci_memeff.chunking import walk

from .modules import Single, double, two


@pytest.mark.parametrize("size", [1, 2, 7])
def test_one_graph_of_one_slice_at_a_time(size):
    module, (x, y) = double(Single()), two(7)
    marks: weakref.WeakSet = weakref.WeakSet()
    counts = []

    def of(x: Tensor, y: Tensor) -> Tensor:
        found = Marked.apply(x @ y.transpose(-1, -2)[..., :4, :], marks)
        counts.append(len(marks))
        return found.square()

    out = walk(of, rows=(x,), shared=(y,), in_dims=-2, out_dims=-2, size=size)
    slices = -(-7 // size)
    assert counts == [0] * slices
    gc.disable()
    try:
        out.sum().backward()
    finally:
        gc.enable()
    assert counts[slices:] == [1] * slices
    assert len(marks) == 0
    del module


class Mark:
    """Something that lives as long as a graph."""


class Marked(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, marks: weakref.WeakSet) -> Tensor:
        if ctx.needs_input_grad[0]:
            ctx.mark = Mark()
            marks.add(ctx.mark)
        return x.clone()

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


class Living(TorchDispatchMode):
    """The most bytes that were alive at once of what operations made."""

    def __init__(self, *given: Tensor) -> None:
        super().__init__()
        self.alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self.given = {x.untyped_storage()._cdata for x in given}
        self.peak = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **kwargs or {})
        self.alive = {k: (ref, n) for k, (ref, n) in self.alive.items() if not ref.expired()}
        for x in tree_leaves(found):
            if isinstance(x, Tensor) and x.untyped_storage()._cdata not in self.given:
                storage = x.untyped_storage()
                self.alive.setdefault(storage._cdata, (StorageWeakRef(storage), storage.nbytes()))
        self.peak = max(self.peak, sum(n for _, n in self.alive.values()))
        return found


def peak(length: int, size: int, *, parameters: bool) -> int:
    """Bytes over inputs, parameters and the output's gradient; the output is let go."""
    module = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 8)).double()
    module.requires_grad_(parameters)
    x = torch.randn(length, 10, 8, dtype=torch.float64, requires_grad=True)
    ones = torch.ones_like(x)
    with Living(x, ones, *module.parameters()) as living:
        out = walk(module, rows=(x,), in_dims=-3, out_dims=-3, size=size)
        out.backward(ones)
        del out
    return living.peak


@pytest.mark.parametrize("parameters", [False, True])
def test_what_is_alive_grows_by_output_and_row_gradient_alone(parameters):
    row = 10 * 8 * 8
    assert peak(60, 3, parameters=parameters) - peak(30, 3, parameters=parameters) == 30 * 2 * row
    assert peak(60, 60, parameters=parameters) > peak(60, 3, parameters=parameters) + 60 * 8 * row
