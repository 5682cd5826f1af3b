"""A walk is the plain evaluation: outputs and every gradient; and its policy is a value."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

from sci_memeff.chunking import InSlices, in_slices, walk
from sci_memeff.errors import BadConfigError

from .modules import (
    Mixed,
    Single,
    answer,
    assert_same,
    differentiable,
    double,
    mixed,
    mixed_inputs,
    plus,
    single,
    two,
)

SIZES = [1, 2, 3, 5, 7, 100]  # one, not dividing, prime, the axis itself, beyond it


# Numbers


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
@pytest.mark.parametrize("length", [0, 1, 5, 7])
@pytest.mark.parametrize("size", SIZES)
def test_the_plain_answer(size, length, batch):
    module, inputs = double(Mixed()), mixed_inputs(length, batch)
    wanted = differentiable(inputs, module)
    plain = answer(lambda: module.rows(*inputs.rows, *inputs.shared), wanted)
    assert_same(answer(lambda: mixed(module, inputs, size), wanted), plain)
    assert all(x is not None for x in plain[:-2])  # all but those of `unused`


def test_the_comparison_can_fail():
    module, (x, y) = double(Single()), two()
    plain = answer(lambda: module(x, y), [x, y])
    with pytest.raises(AssertionError, match="2"):
        assert_same([*plain[:2], plain[2] * (1 + 1e-9)], plain)
    # a function that compares its rows
    centred = answer(lambda: module(x - x.mean(-2, keepdim=True), y), [x, y])
    with pytest.raises(AssertionError, match="0"):
        assert_same(centred, plain)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_finite_differences(size):
    module, (x, y) = double(Single()), two()
    names, parameters = zip(*module.named_parameters(), strict=True)

    def of(x: Tensor, y: Tensor, *parameters: Tensor) -> Tensor:
        functional = Functional(module, dict(zip(names, parameters, strict=True)))
        return functional(x, y, size)

    assert torch.autograd.gradcheck(of, (x, y, *parameters))


class Functional:
    """A walk of a module with other parameters than its own."""

    def __init__(self, module: Single, parameters: dict[str, Tensor]) -> None:
        self.outer = Outer(module)
        self.parameters = {f"inner.{name}": value for name, value in parameters.items()}

    def __call__(self, x: Tensor, y: Tensor, size: int) -> Tensor:
        self.outer.walk = in_slices(size)
        return torch.func.functional_call(self.outer, self.parameters, (x, y))


class Outer(nn.Module):
    """A module that walks another one."""

    def __init__(self, inner: nn.Module, size: int = 2) -> None:
        super().__init__()
        self.inner = inner
        self.walk = in_slices(size)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.walk(self.inner, rows=(x,), shared=(y,), in_dims=-2, out_dims=-2)


def test_functional_call_with_computed_parameters():
    """Parameters that are no leaves, and are gone from the module by the backward pass."""
    module, (x, y) = double(Single()), two()
    own = [p.detach().clone() for p in module.parameters()]
    base = [torch.randn_like(p).requires_grad_() for p in module.parameters()]
    names = [name for name, _ in module.named_parameters()]

    def computed() -> dict[str, Tensor]:
        return {name: b.sin() for name, b in zip(names, base, strict=True)}

    wanted = [x, y, *base]
    plain = answer(lambda: torch.func.functional_call(module, computed(), (x, y)), wanted)
    assert_same(answer(lambda: Functional(module, computed())(x, y, 2), wanted), plain)
    assert all(torch.equal(p, o) for p, o in zip(module.parameters(), own, strict=True))


def test_one_dimension_serves_all():
    module = double(Single())
    x, y = two()
    found = answer(lambda: single(module, x, y, 2), [x, y, *module.parameters()])
    assert_same(found, answer(lambda: module(x, y), [x, y, *module.parameters()]))


def test_a_tuple_of_one_stays_one():
    (x, _) = two()
    found = walk(lambda x: (x * 2,), rows=[x], in_dims=[-1], out_dims=[-1], size=3)
    assert isinstance(found, tuple)
    assert torch.equal(found[0], 2 * x)


def test_one_tensor_as_rows_and_shared_at_once():
    x = torch.randn(2, 7, 4, dtype=torch.float64, requires_grad=True)

    def distances(some: Tensor, other: Tensor, every: Tensor) -> Tensor:
        return (some[..., :, None, :] * other[..., :, None, :] - every[..., None, :, :]).square()

    for size in SIZES:
        found = answer(
            lambda size=size: walk(
                distances, rows=(x, x), shared=(x,), in_dims=-2, out_dims=-3, size=size
            ),
            [x],
        )
        assert_same(found, answer(lambda: distances(x, x, x), [x]))


@pytest.mark.parametrize("size", [2, 5])
def test_functions_that_return_what_they_get(size):
    x, y = two()
    found = answer(
        lambda: walk(
            lambda x, y: (x, x.transpose(-1, -2), x + y[:, :1, :4]),
            rows=(x,),
            shared=(y,),
            in_dims=-2,
            out_dims=(-2, -1, -2),
            size=size,
        ),
        [x, y],
    )
    plain = answer(lambda: (x * 1, x.transpose(-1, -2) * 1, x + y[:, :1, :4]), [x, y])
    assert_same(found, plain)


@pytest.mark.parametrize("size", [2, 5])
def test_outputs_may_be_written_to(size):
    module, (x, y) = double(Single()), two()
    transposed = walk(
        lambda x: x.transpose(-1, -2) + 1, rows=(x,), in_dims=-2, out_dims=-1, size=size
    )
    transposed.mul_(x.detach().transpose(-1, -2))
    same = walk(lambda x: x, rows=(x,), in_dims=-2, out_dims=-2, size=size)
    same.add_(1)
    out = single(module, x, y, size)
    out.mul_(2)
    (out.sum() + transposed.sum() + same.sum()).backward()
    plain = 2 * module(x, y).sum() + ((x + 1) * x.detach()).sum() + x.sum()
    assert_same([x.grad], torch.autograd.grad(plain, [x]))


def test_expanded_and_transposed_rows():
    base = torch.randn(4, 1, 6, dtype=torch.float64, requires_grad=True)
    y = torch.randn(1, 3, 6, dtype=torch.float64, requires_grad=True)
    module = double(Single())

    def of(size: int | None) -> Tensor:
        x = base.expand(4, 5, 6).transpose(0, 2)  # 6 5 4
        every = y.expand(6, 3, 6)
        return module(x, every) if size is None else single(module, x, every, size)

    plain = answer(lambda: of(None), [base, y])
    for size in SIZES:
        assert_same(answer(lambda size=size: of(size), [base, y]), plain)


def test_deepspeeds_failures():
    """Its sequence_tiled_compute loses the gradients of other inputs, and needs equal widths."""

    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 9)

        def forward(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
            return self.linear(x * y) * z.sum(-1, keepdim=True)

    module = double(Wide())
    x, y = (torch.randn(7, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    z = torch.randn(7, 2, dtype=torch.float64, requires_grad=True)
    wanted = [x, y, z, *module.parameters()]
    plain = answer(lambda: module(x, y, z), wanted)
    assert all(gradient.abs().max() > 0.1 for gradient in plain)
    for size in SIZES:
        found = answer(
            lambda size=size: walk(module, rows=(x, y, z), in_dims=-2, out_dims=-2, size=size),
            wanted,
        )
        assert_same(found, plain)


# The policy


def test_in_slices_is_a_value():
    three, again = in_slices(3), in_slices(3, recompute_shared=True)
    assert three == InSlices(3) == InSlices(3, recompute_shared=False) != in_slices(4)
    assert again == InSlices(3, recompute_shared=True) != three
    assert repr(three) == "InSlices(size=3, recompute_shared=False)"
    for one in (three, again):
        same = pickle.loads(pickle.dumps(one))
        assert same == copy.deepcopy(one) == one
        assert hash(same) == hash(one)
    with pytest.raises(AttributeError):
        three.size = 4


@pytest.mark.parametrize("size", [0, -1])
def test_sizes_that_are_none(size):
    x = torch.ones(3)
    for call in (
        lambda: in_slices(size),
        lambda: walk(plus, rows=(x,), in_dims=-1, out_dims=-1, size=size),
    ):
        with pytest.raises(BadConfigError, match=f"at least one row .* {size}") as caught:
            call()
        assert caught.match("mend: give a size of 1 or more")
