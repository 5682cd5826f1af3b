"""Probes find the axes along which modules are independent, and these alone."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from sci_memeff.chunking.probing import Independence, explain, independent_axes


class Of(nn.Module):
    """A function as a module."""

    def __init__(self, fn: Callable[..., Any], *parameters: Tensor) -> None:
        super().__init__()
        self.fn = fn
        self.weights = nn.ParameterList(parameters)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.fn(*self.weights, *args, **kwargs)


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(*shape, dtype=dtype, device="meta")


def axes(module: nn.Module, *args: Any, **kwargs: Any) -> set[tuple[Any, Any, int]]:
    """What is found, each as in_dims, out_dims and length."""
    found = independent_axes(module, args, kwargs)
    return {(one.in_dims, one.out_dims, one.length) for one in found}


def row(dim: int, length: int, *keys: int | str) -> tuple[Any, Any, int]:
    """An axis that all named arguments and the output have in one place."""
    return tuple((key, dim) for key in keys or (0,)), dim, length


def mlp(width: int = 12) -> nn.Module:
    return nn.Sequential(
        nn.LayerNorm(width), nn.Linear(width, 20), nn.GELU(), nn.Dropout(0.3), nn.Linear(20, width)
    )


# What is found


@pytest.mark.parametrize(
    ("module", "shape", "dims"),
    [
        (nn.Linear(12, 20), (4, 100, 12), (-2, -3)),
        (nn.Linear(12, 12), (12, 12, 12), (-2, -3)),
        (nn.LayerNorm(12), (4, 100, 12), (-2, -3)),
        (mlp(), (4, 100, 12), (-2, -3)),
        (nn.Conv2d(3, 8, 3, padding=1), (4, 3, 32, 32), (-4,)),
        (nn.Conv2d(8, 8, 7, stride=2), (4, 8, 224, 224), (-4,)),
        (nn.BatchNorm1d(12).eval(), (100, 12), (-2,)),
        (nn.InstanceNorm1d(12), (4, 12, 100), (-3, -2)),
        (nn.Softmax(-2), (4, 100, 12), (-1, -3)),
        (Of(lambda x: x.cumsum(-2)), (4, 100, 12), (-1, -3)),
        (Of(lambda x: x.flip(-1).exp()), (4, 100, 12), (-2, -3)),
        (nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), (4, 100, 16), (-3,)),
        (nn.TransformerEncoderLayer(16, 4, 32, batch_first=True).eval(), (4, 100, 16), (-3,)),
        (nn.TransformerEncoderLayer(16, 4, 32), (100, 4, 16), (-2,)),
    ],
)
def test_modules_of_one_argument(module, shape, dims):
    assert axes(module, meta(*shape)) == {row(dim, shape[dim]) for dim in dims}


@pytest.mark.parametrize("training", [True, False])
def test_attention_is_independent_along_queries_and_the_batch(training):
    module = nn.MultiheadAttention(16, 4, dropout=0.2, batch_first=True).train(training)
    x = meta(3, 50, 16)
    batch, queries = row(-3, 3, 0, 1, 2), row(-2, 50)
    assert axes(module, x, x, x) == {batch, queries}
    assert axes(module, x, meta(3, 70, 16), meta(3, 70, 16), need_weights=False) == {batch, queries}
    padded = meta(3, 50, dtype=torch.bool)
    rows = (*row(-3, 3, 0, 1, 2)[0], ("key_padding_mask", -2))
    assert axes(module, x, x, x, key_padding_mask=padded) == {(rows, -3, 3), queries}


def test_a_second_input_is_shared_or_sliced_with_the_first():
    def of(x, y):
        return x @ y.transpose(-1, -2)

    assert axes(Of(of), meta(2, 30, 4), meta(2, 50, 4)) == {
        row(-2, 30),
        (((1, -2),), -1, 50),
        row(-3, 2, 0, 1),
    }
    assert axes(Of(lambda x, y: x * y), meta(30, 4), y=meta(30, 4)) == {
        row(-2, 30, 0, "y"),
        row(-1, 4, 0, "y"),
    }


def test_several_outputs_have_an_axis_each():
    gru = nn.GRU(16, 16, 2, batch_first=True, dropout=0.1)
    assert axes(gru, meta(8, 60, 16)) == {(((0, -3),), (-3, -2), 8)}
    split = Of(lambda x, y: (x.square(), None, [y.movedim(-2, -1)]))
    assert axes(split, meta(30, 4), meta(30, 5)) == {(((0, -2), (1, -2)), (-2, -1), 30)}


def test_tensors_in_one_argument_are_sliced_together():
    """As attention's biases are, of which one has the axis and one serves every row."""

    def of(x, biases, scale):
        return (x[..., None, :] + biases[0] + biases[1]["pair"]).softmax(-1) * scale

    found = axes(Of(of), meta(9, 30, 50), [meta(9, 1, 1, 50), {"pair": meta(1, 30, 4, 50)}], 2.0)
    assert found == {
        (((0, -3), (1, -4)), -4, 9),
        (((0, -2), (1, -3)), -3, 30),
        (((1, -2),), -2, 4),
    }


def test_rows_of_a_square_are_found_although_columns_are_as_many():
    def of(z, mask):
        return (z * mask[..., None]).cumsum(-2)

    assert axes(Of(of), meta(40, 40, 6), meta(40, 40)) == {
        (((0, -3), (1, -2)), -3, 40),
        row(-1, 6),
    }


def test_rows_may_be_as_many_as_channels():
    assert axes(mlp(64), meta(64, 64, 64)) == {row(-2, 64), row(-3, 64)}


class Square(nn.Module):
    """Rows of m (s, r, c), biased by a square z (r, r, k); one of its parameters is r wide."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(12, 12)
        self.bias = nn.Linear(6, 12)
        self.other = nn.Linear(12, width)

    def forward(self, m, z, mask):
        weights = self.bias(z).softmax(-2) * mask[..., None, :, None]
        return self.other(torch.einsum("...ijc,...jc->...ic", weights, self.linear(m)))


def test_the_sides_of_a_square_may_be_as_many_as_channels():
    found = axes(Square(48), meta(1, 30, 48, 12), meta(1, 48, 48, 6), meta(1, 30, 48))
    queries = (((1, -3),), -2, 48)
    assert found == {(((0, -3), (2, -2)), -3, 30)} | {queries}


def test_integers_and_masks():
    embedding = nn.Embedding(100, 16)
    wanted = {(((0, -1),), -2, 50), (((0, -2),), -3, 8)}
    assert axes(embedding, torch.randint(100, (8, 50))) == wanted
    assert axes(embedding, meta(8, 50, dtype=torch.int64)) == wanted
    masked = Of(lambda x, mask: x.masked_fill(mask[..., None], 0.0))
    found = axes(masked, meta(8, 50, 16), meta(8, 50, dtype=torch.bool))
    assert found == {row(-1, 16), (((0, -2), (1, -1)), -2, 50), (((0, -3), (1, -2)), -3, 8)}


def test_float32_asked_for_inside_does_not_blur_the_proof():
    def of(weight, x):
        with torch.autocast("cpu", torch.bfloat16):
            return (x.float() @ weight.float()).softmax(-1, dtype=torch.float32).to(x.dtype)

    module = Of(of, torch.randn(8, 8, dtype=torch.bfloat16))
    assert axes(module, meta(5, 30, 8, dtype=torch.bfloat16)) == {row(-2, 30), row(-3, 5)}


def test_positive_inputs():
    assert axes(Of(lambda x: x.log().sqrt()), meta(30, 4)) == set()  # nothing finite below 1
    assert axes(Of(lambda x: x.abs().log()), meta(30, 4)) == {row(-2, 30), row(-1, 4)}


def test_broadcast_axes_of_one_are_no_rows():
    found = axes(Of(torch.add), meta(1, 30, 4), meta(1, 30, 1))
    assert found == {row(-2, 30, 0, 1), row(-1, 4)}


# What is left alone


def test_the_answer_is_a_value():
    found = independent_axes(mlp(), (meta(7, 12),))
    assert found == (Independence(((0, -2),), -2, 7),)
    assert hash(found) == hash(independent_axes(mlp(), (meta(7, 12),)))


def test_nothing_is_touched():
    module = mlp().train()
    module.register_buffer("index", torch.arange(3))
    module[1].weight.grad = torch.ones(20, 12)
    before = {name: x.clone() for name, x in module.state_dict().items()}
    x = torch.randn(30, 12, requires_grad=True)
    state, filters = torch.get_rng_state(), list(warnings.filters)
    assert len(independent_axes(module, (x,))) == 1
    assert torch.equal(torch.get_rng_state(), state)
    assert (torch.get_default_dtype(), warnings.filters) == (torch.float32, filters)
    assert module.training
    assert module[3].p == 0.3
    assert torch.equal(module[1].weight.grad, torch.ones(20, 12))
    assert x.grad is None
    assert all(torch.equal(x, before[name]) for name, x in module.state_dict().items())


def test_modules_and_calls_may_be_real_meta_or_fake():
    wanted = {row(-2, 30), row(-3, 4)}
    with FakeTensorMode(allow_non_fake_inputs=True):
        fake, x = mlp(), torch.empty(4, 30, 12)
    assert axes(mlp(), torch.randn(4, 30, 12)) == wanted
    assert axes(mlp().to("meta"), meta(4, 30, 12)) == wanted
    assert axes(fake, x) == wanted
    assert axes(deepcopy(mlp()).to(torch.bfloat16), x) == wanted
    with torch.no_grad(), torch.device("meta"):
        assert axes(mlp(), torch.empty(4, 30, 12)) == wanted


def test_layers_that_start_at_zero_hide_nothing():
    """A residual update that is nothing at first, with a mean over rows in it."""

    class Zero(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(6, 6)
            nn.init.zeros_(self.linear.weight)
            nn.init.zeros_(self.linear.bias)

        def forward(self, x):
            return x + self.linear(x - x.mean(-2, keepdim=True))

    assert axes(Zero(), torch.zeros(3, 20, 6)) == {row(-3, 3)}


def test_reasons_are_told():
    probed = explain(nn.Softmax(-1), (meta(30, 4),))
    assert [one.length for one in probed.axes] == [30]
    assert "length 4, {0: -1}: a slice alone gives other values" in probed.refused
