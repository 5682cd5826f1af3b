"""What cannot be proved is not listed, however small or hidden the dependence; why is told."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sci_memeff.chunking.probing import explain

from .test_probe import Of, axes, meta, mlp, row


class Leaky(nn.Module):
    """Rows of an MLP, and a thousandth of the mean over all rows."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.layers = mlp(6)
        self.weight = nn.Parameter(torch.tensor(weight))

    def forward(self, x):
        return self.layers(x) + 1e-3 * self.weight * x.mean(-2, keepdim=True)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_a_small_leak_through_a_parameter(weight):
    assert axes(Leaky(weight), meta(4, 30, 6)) == {row(-3, 4)}


def largest_only(x: Tensor) -> Tensor:
    """Rows change only where the largest of all is beyond 3."""
    return x * torch.where(x.amax(-2, keepdim=True) > 3, 2.0, 1.0)


def far(x: Tensor) -> Tensor:
    """Row r and row r + 100; no row of a short example has the other one."""
    return x + torch.nn.functional.pad(x, (0, 0, 0, 100))[..., 100:, :]


def by_size(x: Tensor) -> Tensor:
    return x - x.mean(-2, keepdim=True) if x.shape[-2] > 200 else x


def in_the_gradient_alone(x: Tensor) -> Tensor:
    mean = x.mean(-2, keepdim=True)
    return x + (mean - mean.detach())


def own_scale(x: Tensor) -> Tensor:
    """As low-precision layers have it: the scale of the largest element, and rounding."""
    scale = x.abs().amax((-2, -1), keepdim=True) / 400
    return (x / scale).to(torch.float8_e4m3fn).to(x.dtype) * scale


@pytest.mark.parametrize(
    "leak",
    [
        lambda x: x.softmax(-2),
        lambda x: x.cumsum(-2),
        lambda x: x - x.mean(-2, keepdim=True),
        lambda x: x.roll(1, -2),
        lambda x: x.flip(-2),
        lambda x: x + torch.arange(x.shape[-2], dtype=x.dtype)[:, None],
        lambda x: x.sort(-2).values,
        lambda x: x / x.shape[-2],
        lambda x: x * (1 + 1e-9 * x.sum(-2, keepdim=True)),
        largest_only,
        far,
        by_size,
        in_the_gradient_alone,
        own_scale,
    ],
)
def test_rows_that_depend_on_one_another(leak):
    found = {one.length for one in explain(Of(leak), (meta(4, 300, 3),)).axes}
    assert 300 not in found
    assert 4 in found


def test_without_the_leak_these_are_found():
    found = explain(Of(lambda x: x * 2), (meta(4, 300, 3),))
    assert [one.length for one in found.axes] == [300, 4, 3]
    assert found.refused == ""


def test_a_leak_between_two_arguments():
    """x alone may be sliced; not y, nor both."""
    found = axes(Of(lambda x, y: x + 1e-3 * y.mean(-2, keepdim=True)), meta(30, 6), meta(30, 6))
    assert found == {row(-2, 30), row(-1, 6, 0, 1)}


def test_a_leak_through_equal_integers():
    """Residues of one chain attend to each other; in the example there is one chain."""

    def same_chain(x, chain):
        same = (chain[..., None] == chain[..., None, :]).to(x.dtype)
        return torch.einsum("ij,jc->ic", same, x)

    wanted = {row(-1, 6)}
    assert axes(Of(same_chain), meta(30, 6), torch.zeros(30, dtype=torch.int64)) == wanted
    assert axes(Of(same_chain), meta(30, 6), torch.randint(3, (30,))) == wanted


def test_indices_into_rows():
    found = axes(Of(lambda x, index: x[index]), meta(30, 6), torch.randint(30, (50,)))
    assert found == {(((1, -1),), -2, 50), row(-1, 6)}


class Remembers(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.register_buffer("mean", torch.zeros(6))

    def forward(self, x):
        if self.how == "buffer":
            self.mean.mul_(0.9).add_(x.mean((0, 1)))
        elif self.how == "attribute":
            self.loss = x.square().mean()
        elif self.how == "input":
            x.add_(1)
        elif self.how == "answer":
            self.calls = getattr(self, "calls", 0) + 1
            return x * self.calls
        return x * 2


@pytest.mark.parametrize("how", ["buffer", "attribute", "input"])
def test_what_a_forward_writes(how):
    probed = explain(Remembers(how), (meta(4, 30, 6),))
    assert probed.axes == ()
    assert "writes to its inputs, or to tensors that the module holds" in probed.refused


def test_batch_norm_in_training():
    assert "writes to" in explain(nn.BatchNorm1d(6), (meta(30, 6),)).refused
    own = explain(nn.BatchNorm1d(6, track_running_stats=False), (meta(30, 6),))
    assert own.axes == ()
    assert "length 30" in own.refused


@pytest.mark.parametrize(
    "module",
    [
        Remembers("answer"),
        Of(lambda x: x + torch.rand_like(x)),
        Of(lambda x: x * torch.bernoulli(torch.full_like(x, 0.5))),
        Of(lambda x: torch.nn.functional.rrelu(x, training=True)),
    ],
)
def test_answers_that_change(module):
    probed = explain(module, (meta(4, 30, 6),))
    assert probed.axes == ()
    assert "two calls give two answers" in probed.refused


def test_dropout_in_any_form_is_left_out():
    def of(x):
        heads = x[..., None, :, :]
        out = torch.nn.functional.scaled_dot_product_attention(heads, heads, heads, dropout_p=0.5)
        return torch.nn.functional.dropout(torch.dropout(out[..., 0, :, :], 0.5, True), 0.5)

    assert axes(Of(of), meta(4, 30, 6)) == {row(-3, 4)}


@pytest.mark.parametrize(
    ("module", "args", "reason"),
    [
        (Of(lambda x: x[x > 0]), (meta(30, 6),), "output 0 is"),
        (Of(lambda x: (x, x.sum())), (meta(30, 6),), "output 1 is"),
        (Of(lambda x: (x[..., None, :] * x).sum(-1)), (meta(30, 6),), "of 2 rows and"),
        (Of(lambda x: (x, 3)), (meta(30, 6),), "it returns int"),
        (Of(lambda x: None), (meta(30, 6),), "it returns no tensor"),
        (Of(lambda x: x.no_such_thing()), (meta(30, 6),), "it raises AttributeError"),
        (Of(lambda x: x.view(-1, 100_000)), (meta(10_000, 100_000),), "more than 64 MiB"),
        (Of(lambda n: torch.ones(n)), (3,), "none of its arguments is a tensor"),
        (Of(lambda x: x["a"]), ({"a": meta(30), "b": meta(4)},), "has an axis to cut"),
        (Of(lambda x: x * torch.nan), (meta(30, 6),), "not finite"),
        (nn.Embedding(2**20, 2**7, device="meta"), (meta(3).long(),), "more than 512 MiB"),
    ],
)
def test_reasons(module, args, reason):
    probed = explain(module, args)
    assert probed.axes == ()
    assert reason in probed.refused


def test_parameters_that_are_not_there_yet():
    assert "cannot be copied" in explain(nn.LazyLinear(3), (meta(30, 6),)).refused


class Frame:
    """As the rigid transforms of structure modules are: no structure that torch knows."""

    def __init__(self, translation: Tensor) -> None:
        self.held = [translation]


def test_tensors_that_nobody_could_cut():
    module = Of(lambda x, frame: x + frame.held[0])
    for argument in (Frame(meta(30, 6)), {"frame": Frame(meta(30, 6))}):
        probed = explain(module, (meta(30, 6), argument))
        assert probed.axes == ()
        assert "inside of a Frame can neither be cut nor drawn" in probed.refused
    assert explain(Of(lambda x, how: x * how["by"]), (meta(30, 6), {"by": 2})).axes


def test_outputs_that_are_not_computed():
    probed = explain(Of(lambda x: x.to("meta")), (meta(30, 6),))
    assert "it returns a Tensor on meta" in probed.refused
