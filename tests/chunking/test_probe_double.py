"""The copy that is probed: in float64, drawn anew, without dropout, and nothing left behind."""

from __future__ import annotations

import random
import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from sci_memeff.chunking.probing import independent_axes
from sci_memeff.chunking.probing.double import (
    double_copy,
    in_double,
    redraw_matrices,
    redraw_vectors,
    tensors_held,
)
from sci_memeff.measure import simulate

from .test_probe import axes, meta, row


class Everything(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3, dtype=torch.bfloat16)
        self.tied = self.linear.weight
        self.scale = nn.Parameter(torch.zeros(()), requires_grad=False)
        self.norm = nn.BatchNorm1d(3)
        self.register_buffer("index", torch.tensor([2, 0, 1]))
        self.register_buffer("bias", torch.tensor([0.0, -torch.inf]))
        self.table = [torch.ones(2), torch.tensor(True)]
        self.dropout = nn.Dropout1d(0.7)
        self.attention = nn.MultiheadAttention(4, 2, dropout=0.6)


def test_a_copy_is_wide_and_new():
    module = Everything()
    g = torch.Generator().manual_seed(0)
    copied = double_copy(module)
    redraw_matrices(copied, g)
    redraw_vectors(copied, g, signed=False)
    floats = [x for x in (*copied.parameters(), *copied.buffers()) if x.is_floating_point()]
    assert {x.dtype for x in floats} == {torch.float64}
    assert copied.tied is copied.linear.weight
    assert copied.scale.requires_grad  # a gradient that is wanted one day is proven, too
    assert copied.scale > 0.1
    assert torch.equal(copied.index, module.index)
    assert (copied.norm.running_var >= 1).all()
    assert copied.norm.num_batches_tracked == 0
    assert copied.bias[1] == -torch.inf
    assert copied.table[0].dtype is torch.float64
    assert copied.table[1] is not module.table[1]
    assert (copied.dropout.p, copied.attention.dropout) == (0.0, 0.0)
    assert (module.dropout.p, module.attention.dropout) == (0.7, 0.6)
    assert module.linear.weight.dtype is torch.bfloat16
    redraw_vectors(copied, g, signed=True)
    vectors = torch.cat([x.flatten() for x in copied.parameters() if x.ndim < 2])
    assert (vectors < 0).any()
    assert any(x is copied.table[0] for x in tensors_held(copied))


def test_copies_of_meta_modules_need_no_values():
    copied = double_copy(Everything().to("meta"))
    assert {x.device.type for x in tensors_held(copied)} == {"cpu"}


def test_what_asks_for_less_is_computed_in_float64():
    x = torch.randn(3, 4, dtype=torch.float64)
    with in_double():
        for narrow in (x.float(), x.half(), x.bfloat16(), x.to(torch.float32), x.type(torch.half)):
            assert torch.equal(narrow, x)
        assert x.softmax(-1, dtype=torch.float32).dtype is torch.float64
        assert torch.zeros(2).dtype is torch.float64
        assert torch.zeros(2, dtype=torch.bfloat16).dtype is torch.float64
        assert torch.zeros(2, dtype=torch.complex64).dtype is torch.complex128
        assert functional.dropout(x, 0.5) is x
        assert functional.dropout(input=x, p=0.5) is x


def test_states_are_put_back():
    def numbers() -> tuple[float, ...]:
        return torch.rand(()).item(), random.random(), float(np.random.rand())

    def seed() -> None:
        torch.manual_seed(0), random.seed(0), np.random.seed(0)

    seed()
    wanted = numbers()
    seed()

    def disturb() -> None:
        numbers()
        warnings.warn("never seen", stacklevel=1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), in_double():
        disturb()
    assert numbers() == wanted
    assert torch.get_default_dtype() is torch.float32
    assert torch.ones(1).dtype is torch.float32


def test_inside_of_other_modes():
    with torch.inference_mode(), torch.autocast("cpu"), torch.device("meta"):
        found = independent_axes(nn.Linear(4, 3), (torch.empty(30, 4),))
    assert [one.length for one in found] == [30]


def test_inside_of_a_simulation():
    def step(model: nn.Module, x: Tensor) -> None:
        assert [one.length for one in independent_axes(model, (x,))] == [30]

    simulate(nn.Linear(4, 3), step, torch.empty(30, 4))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scripted_layers():
    scripted = torch.jit.script(nn.Sequential(nn.Linear(4, 6), nn.ReLU()))
    assert axes(nn.Sequential(scripted, nn.Linear(6, 2)), meta(30, 4)) == {row(-2, 30)}
    assert scripted[0].weight.dtype is torch.float32


def test_reparametrised_weights():
    module = nn.utils.parametrizations.weight_norm(nn.Linear(4, 6))
    assert axes(module, meta(30, 4)) == {row(-2, 30)}
