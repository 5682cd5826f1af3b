"""Foreign modules a slice at a time: the plain answer and every gradient, whatever they take."""

from __future__ import annotations

import copy
import pickle
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from sci_memeff import Plan, Rule, apply
from sci_memeff._types import Forward, plainly
from sci_memeff.chunking import Sliced, sliced
from sci_memeff.errors import BadConfigError, BadWalkError, SecondDerivativeError
from sci_memeff.measure import measure

from .modules import answer, assert_same, double

SIZES = [1, 3, 7, 10]  # of 7 rows


class Both(NamedTuple):
    wide: Tensor
    rest: dict[str, Any]


class Fusion(nn.Module):
    """Rows x (b, r, 4) and bias (b, 3, r), shared tensors in a dict, outputs of other widths."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(4, 6)
        self.two = nn.Linear(3, 6)
        self.norm = nn.LayerNorm(6)
        self.register_buffer("offset", torch.arange(6.0))

    def forward(
        self, x: Tensor, others: dict[str, Any], keep: Tensor | None = None, *, bias: Tensor
    ) -> Both:
        h = self.norm(self.one(x) + self.two(bias.mT)) + others["k"][0] * others["scale"]
        h = (h + self.offset).tanh()
        if keep is not None:
            h = h * keep[..., None]
        wide = torch.cat([h, h * others["k"][1]], -1)
        return Both(wide, {"sums": [h.sum(-1), None], "flipped": h[..., :2].mT})


USE = {"in_dims": {"x": -2, 2: -1, "bias": -1}, "out_dims": (-2, -1, -1)}


def call(length: int = 7) -> tuple[tuple[Any, ...], dict[str, Any]]:
    g = torch.Generator().manual_seed(length)

    def leaf(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64).requires_grad_()

    others = {"scale": 0.5, "k": (leaf(6), leaf(2, 1, 6)), "name": "text", "none": None}
    keep = torch.rand(2, length, generator=g) < 0.6
    keep[0, 0], keep[-1, -1] = True, False
    assert set(keep.unique().tolist()) == {False, True}
    return (leaf(2, length, 4), others, keep), {"bias": leaf(2, 3, length)}


def of(module: nn.Module, use: Forward, args: Any, kwargs: Any = None) -> list[Tensor | None]:
    """Outputs and every gradient: of arguments and parameters."""
    kwargs = kwargs or {}
    wanted = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor) and x.requires_grad]

    def evaluate() -> list[Tensor]:
        found = tree_leaves(use(module.forward, args, kwargs))
        return [leaf for leaf in found if isinstance(leaf, Tensor)]

    return answer(evaluate, [*wanted, *module.parameters()])


@pytest.mark.parametrize("size", SIZES)
def test_the_answer_and_every_gradient_are_the_plain_ones(size):
    module, (args, kwargs) = double(Fusion()), call()
    plain = of(module, plainly, args, kwargs)
    assert all(gradient is not None and gradient.any() for gradient in plain)
    assert len(plain) == 3 + 4 + 6
    assert_same(of(module, sliced(size, **USE), args, kwargs), plain)


def test_what_the_module_returns_is_built_again():
    module, (args, kwargs) = double(Fusion()), call()
    found = sliced(3, **USE)(module.forward, args, kwargs)
    assert isinstance(found, Both)
    assert found.wide.shape == (2, 7, 12)
    assert found.rest["sums"][1] is None
    assert found.rest["flipped"].shape == (2, 2, 7)
    with torch.no_grad():
        again = sliced(3, **USE)(module.forward, args, kwargs)
    assert torch.equal(again.rest["flipped"], found.rest["flipped"])


def test_arguments_by_position_and_by_name_are_the_same_ones():
    module, (args, kwargs) = double(Fusion()), call()
    plain = of(module, plainly, args, kwargs)
    by_name = {"others": args[1], "x": args[0], **kwargs, "keep": args[2]}
    use = sliced(3, {0: -2, "keep": -1, "bias": -1}, USE["out_dims"])
    assert_same(of(module, use, args, kwargs), plain)
    x, y = (of(module, each, (), by_name) for each in (use, plainly))
    assert_same(x, y)


def test_what_is_not_given_is_left_out():
    module, (args, kwargs) = double(Fusion()), call()
    use = sliced(2, **USE)
    for some in (args[:2], (*args[:2], None)):
        assert_same(of(module, use, some, kwargs), of(module, plainly, some, kwargs))


def test_a_row_of_length_one_serves_every_slice():
    module, (args, kwargs) = double(Fusion()), call()
    one = {"bias": torch.randn(2, 3, 1, dtype=torch.float64, requires_grad=True)}
    assert_same(of(module, sliced(3, **USE), args, one), of(module, plainly, args, one))
    args, kwargs = call(1)
    assert_same(of(module, sliced(3, **USE), args, kwargs), of(module, plainly, args, kwargs))


class Attending(nn.Module):
    """Rows attend to everything, themselves included: one tensor is a row and shared."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, q: Tensor, kv: Tensor) -> Tensor:
        return self.attention(q, kv, kv, need_weights=False)[0]


def test_the_gradient_of_a_second_input_is_not_dropped():
    module = double(Attending())
    x = torch.randn(2, 7, 8, dtype=torch.float64, requires_grad=True)
    use = sliced(3, {"q": -2})
    assert_same(of(module, use, (x, x)), of(module, plainly, (x, x)))
    only = of(module, plainly, (x, x.detach()))
    with pytest.raises(AssertionError):
        assert_same(of(module, use, (x, x)), only)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.second.weight = self.first.weight

    def forward(self, xs: list[Tensor]) -> list[Tensor]:
        return [self.second(self.first(x).sin()) for x in xs]


def test_parameters_that_modules_share():
    model = double(nn.Sequential(Tied(), Tied()))
    model[1].first.weight = model[0].first.weight
    model[1].second.weight = model[0].first.weight
    xs = [torch.randn(7, 4, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    wanted = [*xs, *model.parameters()]
    assert len(wanted) == 2 + 5
    plain = answer(lambda: model(xs), wanted)
    apply(model, Plan(rules=(Rule(where="<0-1>", seam="forward", use=sliced(3, {"xs": -2})),)))
    assert_same(answer(lambda: model(xs), wanted), plain)
    kept = dict(model.named_parameters())
    assert kept["0.first.weight"] is model[1].second.weight


def test_hooks_of_parameters_fire_once():
    module, (args, kwargs) = double(Fusion()), call()
    fired = []
    for p in module.parameters():
        p.register_post_accumulate_grad_hook(lambda p: fired.append(id(p)))
    sliced(2, **USE)(module.forward, args, kwargs).wide.sum().backward()
    assert sorted(fired) == sorted(id(p) for p in module.parameters())


def test_one_slice_is_alive_at_a_time():
    class Wide(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.repeat_interleave(16, -1).sin().square().mean(-1, keepdim=True) * x

    x = torch.randn(256, 64, requires_grad=True)

    def peak(use: Forward) -> int:
        with measure() as bytes_:
            torch.autograd.grad(use(Wide().forward, (x,), {}).sum(), x)
        return bytes_.peak_over // x.nbytes

    # a slice is a sixteenth of the rows, and what is inside of it sixteen times as wide
    assert peak(plainly) > 3 * 16
    assert peak(sliced(16, {"x": -2})) <= 2 + 6


# What is refused


def test_second_derivatives_are_refused_by_name():
    module, (args, kwargs) = double(Fusion()), call()
    found = sliced(2, **USE)(module.forward, args, kwargs).wide.sum()
    with pytest.raises(SecondDerivativeError, match=r"Fusion\.forward is walked"):
        torch.autograd.grad(found, args[0], create_graph=True)


@pytest.mark.parametrize("key", ["y", 3])
def test_an_argument_that_is_not_taken(key):
    module, (args, kwargs) = double(Fusion()), call()
    message = rf"Fusion\.forward takes no argument {key!r}(.|\n)*some of x, others, keep, bias"
    with pytest.raises(BadWalkError, match=message) as caught:
        sliced(2, {"x": -2, key: -2})(module.forward, args, kwargs)
    assert "mend: name in in_dims some of" in str(caught.value)


def test_no_tensor_among_the_rows():
    module, (args, kwargs) = double(Fusion()), call()
    with pytest.raises(BadWalkError, match="mend: name in in_dims an argument that this call has"):
        sliced(2, {"keep": -1})(module.forward, args[:2], kwargs)


class Returning(nn.Module):
    def forward(self, x: Tensor, what: Any) -> Any:
        return what if what is None or isinstance(what, str) else [x, what]


@pytest.mark.parametrize("what", ["text", None, 3])
def test_what_cannot_be_joined(what):
    x = torch.ones(4, 3, requires_grad=True)
    with pytest.raises(BadWalkError, match="mend: walk a module that returns tensors, in tuples"):
        sliced(2, {"x": -2})(Returning().forward, (x, what), {})


def test_running_statistics():
    norm = double(nn.BatchNorm1d(4))
    x = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    with pytest.raises(BadWalkError, match=r"mend: walk it in eval\(\) mode") as caught:
        sliced(2, {"input": -2})(norm.forward, (x,), {})
    assert "BatchNorm1d.forward writes to its module's buffers" in str(caught.value)
    assert_same(of(norm.eval(), sliced(2, {"input": -2}), (x,)), of(norm, plainly, (x,)))


def test_a_size_below_one():
    with pytest.raises(BadConfigError, match="mend: give a size of 1 or more"):
        sliced(0, {"x": -2})


@pytest.mark.parametrize("way", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_they_are_values(way):
    use = sliced(32, {"x": -2, 1: -3}, [-2, -3])
    assert way(use) == use == Sliced(32, (("x", -2), (1, -3)), (-2, -3)) != sliced(32, {"x": -2})
    assert hash(way(use)) == hash(use)
