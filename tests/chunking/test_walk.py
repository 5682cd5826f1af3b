"""A walk is the plain evaluation: outputs, gradients, dtypes, modes, and what is kept."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint

from sci_memeff.chunking import InSlices, in_slices, walk
from sci_memeff.errors import BadConfigError, BadWalkError, SecondDerivativeError

from .modules import (
    Inputs,
    Mixed,
    Single,
    answer,
    assert_same,
    differentiable,
    double,
    mixed_inputs,
)

SIZES = [1, 2, 3, 5, 7, 100]  # one, not dividing, prime, the axis itself, beyond it


def mixed(module: Mixed, inputs: Inputs, size: int):
    return walk(
        module.rows,
        rows=inputs.rows,
        shared=inputs.shared,
        in_dims=Mixed.IN_DIMS,
        out_dims=Mixed.OUT_DIMS,
        size=size,
    )


def single(module: Single, x: Tensor, y: Tensor, size: int) -> Tensor:
    return walk(module, rows=(x,), shared=(y,), in_dims=-2, out_dims=-2, size=size)


def two(length: int = 5, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(3)
    return tuple(
        torch.randn(*shape, generator=g, dtype=dtype).requires_grad_()
        for shape in ((2, length, 4), (2, 3, 6))
    )


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


# Gradients that are not wanted, or not there


@pytest.mark.parametrize("size", [2, 7])
@pytest.mark.parametrize("kept", [0, 1, 2, 3, 4])
def test_any_one_gradient_alone(kept, size):
    module, inputs = double(Mixed()).requires_grad_(False), mixed_inputs(7)
    leaves = differentiable(inputs)
    for i, leaf in enumerate(leaves):
        leaf.requires_grad_(i == kept)
    if kept == len(leaves):
        module.one.weight.requires_grad_()
        leaves.append(module.one.weight)
    plain = answer(lambda: module.rows(*inputs.rows, *inputs.shared), [leaves[kept]])
    found = answer(lambda: mixed(module, inputs, size), [leaves[kept]])
    assert_same(found, plain)


@pytest.mark.parametrize("size", [2, 7])
@pytest.mark.parametrize("used", [0, 1, 2])
def test_a_loss_on_one_output_alone(used, size):
    module, inputs = double(Mixed()), mixed_inputs(7)
    wanted = differentiable(inputs, module)
    plain = answer(lambda: module.rows(*inputs.rows, *inputs.shared)[used], wanted)
    assert_same(answer(lambda: mixed(module, inputs, size)[used], wanted), plain)


def test_integer_outputs_have_no_gradient():
    module, inputs = double(Mixed()), mixed_inputs(7)
    *floats, rank = mixed(module, inputs, 2)
    assert not rank.requires_grad
    assert rank.dtype == torch.int64
    assert all(x.requires_grad for x in floats)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_outputs_and_slices_that_nothing_reaches(size):
    """A constant output, and rows that only some slices read."""
    x = torch.randn(5, dtype=torch.float64, requires_grad=True)
    y = torch.randn(5, dtype=torch.float64, requires_grad=True)
    first = torch.arange(5)

    def of(x: Tensor, y: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        even = index[0].item() % 2 == 0
        return (x * 3 if even else y * 2), torch.ones_like(x)

    found = walk(of, rows=(x, y, first), in_dims=-1, out_dims=-1, size=size)
    got = torch.autograd.grad(found[0].sum(), [x, y], retain_graph=True, allow_unused=True)
    even = (torch.arange(5) // size * size % 2 == 0).double()
    assert torch.equal(got[0], 3 * even)
    if even.all():
        assert got[1] is None
    else:
        assert torch.equal(got[1], 2 * (1 - even))
    assert torch.autograd.grad(found[1].sum(), [x, y], allow_unused=True) == (None, None)


def test_no_graph_where_none_is_wanted():
    module, inputs = double(Mixed()), mixed_inputs(7)
    with torch.no_grad():
        assert not any(x.requires_grad for x in mixed(module, inputs, 2))
    with torch.inference_mode():
        found = mixed(module, inputs, 2)
    assert_same(found, [x.detach() for x in module.rows(*inputs.rows, *inputs.shared)])
    module.requires_grad_(False)
    bare = Inputs(tuple(x.detach() for x in inputs.rows), tuple(x.detach() for x in inputs.shared))
    assert not any(x.requires_grad for x in mixed(module, bare, 2))


# Twice


def test_two_backward_passes_are_bitwise_equal():
    module, inputs = Mixed(), mixed_inputs(7, (2,), torch.float32)
    wanted = differentiable(inputs, module)
    outputs = mixed(module, inputs, 2)[:3]
    ones = [torch.ones_like(x) for x in outputs]
    runs = [
        torch.autograd.grad(outputs, wanted, ones, retain_graph=True, allow_unused=True)
        for _ in range(2)
    ]
    runs.append(torch.autograd.grad(mixed(module, inputs, 2)[:3], wanted, ones, allow_unused=True))
    for one, *others in zip(*runs, strict=True):
        assert all(one is other is None or torch.equal(one, other) for other in others)


def test_a_graph_is_freed_by_its_backward_pass():
    module, (x, y) = double(Single()), two()
    out = single(module, x, y, 2).sum()
    out.backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        out.backward()


def test_second_derivatives_are_refused():
    module, (x, y) = double(Single()), two()
    out = single(module, x, y, 2)
    with pytest.raises(SecondDerivativeError, match=r"Single.*keeps no graph") as caught:
        torch.autograd.grad(out.sum(), x, create_graph=True)
    assert caught.match("mend: leave out create_graph=True, or give the modules .* default walk")
    torch.autograd.grad(out.sum(), x)


# What is kept


@pytest.mark.parametrize("size", [2, 7])
def test_the_inputs_alone_are_kept_and_once(size):
    module, inputs = double(Mixed()), mixed_inputs(7)
    packed: list[Tensor] = []

    def pack(x: Tensor) -> Tensor:
        packed.append(x)
        return x

    x = inputs.rows[0]
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        outputs = [*mixed(module, inputs, size)]
        assert {id(x) for x in packed} == {id(x) for x in (*inputs.rows, *inputs.shared)}
        assert len(packed) == len(inputs.rows) + len(inputs.shared)
        packed.clear()
        outputs += [walk(plus, rows=(x, x), shared=(x,), in_dims=-3, out_dims=-3, size=size)]
        assert [id(x) for x in packed] == [id(x)]


def test_inputs_that_are_kept_elsewhere():
    module, inputs = double(Mixed()), mixed_inputs(7)
    wanted = differentiable(inputs, module)
    plain = answer(lambda: module.rows(*inputs.rows, *inputs.shared), wanted)
    with torch.autograd.graph.saved_tensors_hooks(lambda x: x.numpy(force=True), torch.tensor):
        assert_same(answer(lambda: mixed(module, inputs, 2), wanted), plain)


def plus(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    return x * y + z.sum()


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


# Changes in place


@pytest.mark.parametrize("which", [0, 1])
def test_an_input_that_is_written_to_before_the_backward_pass(which):
    module, inputs = double(Single()), two()
    out = single(module, *(x * 1 for x in inputs), 2)
    out.sum().backward()
    kept = [x * 1 for x in inputs]
    out = single(module, *kept, 2)
    kept[which].add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


def test_a_parameter_that_is_written_to_before_the_backward_pass():
    module, (x, y) = double(Single()), two()
    out = single(module, x, y, 2)
    with torch.no_grad():
        module.linear.weight.add_(1)
    with pytest.raises(BadWalkError, match=r"parameter of Single.* \(6, 4\), was") as caught:
        out.sum().backward()
    assert caught.match("mend: step the optimizer after the backward pass")


def test_a_function_that_writes_to_its_arguments():
    x = torch.randn(5, 3).requires_grad_() * 1
    with pytest.raises(BadWalkError, match=r"negate writes to its arguments") as caught:
        walk(negate, rows=(x,), in_dims=-2, out_dims=-2, size=2)
    assert caught.match("mend: let it write to tensors that it made")


def negate(x: Tensor) -> Tensor:
    return x.neg_()


# Dtypes and modes


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [2, 7])
def test_other_dtypes(dtype, size):
    module, inputs = Mixed().to(dtype), mixed_inputs(7, (2,), dtype)
    wanted = differentiable(inputs, module)
    plain = answer(lambda: module.rows(*inputs.rows, *inputs.shared), wanted)
    tolerance = 1e-5 if dtype == torch.float32 else 3e-2
    assert_same(answer(lambda: mixed(module, inputs, size), wanted), plain, tolerance)


def shapes(module: Mixed, inputs: Inputs, size: int | None) -> list:
    """Shape, dtype and device of every output and gradient."""
    evaluated = module.rows if size is None else partial(mixed_flat, module, size)
    outputs = evaluated(*inputs.rows, *inputs.shared)
    total = sum(x.sum() for x in outputs[:3])
    wanted = differentiable(inputs, module)
    gradients = torch.autograd.grad(total, wanted, allow_unused=True)
    everything = (*outputs, *gradients)
    return [x if x is None else (x.shape, x.dtype, x.device) for x in everything]


def mixed_flat(module: Mixed, size: int, *tensors: Tensor):
    return mixed(module, Inputs(tensors[:4], tensors[4:]), size)


def moved(inputs: Inputs, device: str) -> Inputs:
    def one(x: Tensor) -> Tensor:
        return x.detach().to(device).requires_grad_(x.requires_grad)

    return Inputs(*(tuple(one(x) for x in part) for part in inputs))


def test_meta_tensors():
    module, inputs = Mixed().to("meta"), moved(mixed_inputs(7, (2,), torch.float32), "meta")
    assert shapes(module, inputs, 2) == shapes(module, inputs, None)


@pytest.mark.parametrize("autocast", [False, True])
def test_fake_tensors(autocast):
    inputs = mixed_inputs(7, (2,), torch.float32)
    with FakeTensorMode() as mode, torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        inputs = Inputs(*(tuple(mode.from_tensor(x) for x in part) for part in inputs))
        module = Mixed()
        assert shapes(module, inputs, 2) == shapes(module, inputs, None)


@pytest.mark.parametrize("size", [2, 5])
@pytest.mark.parametrize("cached", [False, True])
def test_autocast_is_that_of_the_forward_pass(size, cached):
    module, (x, y) = Single(), two(dtype=torch.float32)
    wanted = [x, y, *module.parameters()]
    seen = []
    module.register_forward_hook(lambda *_: seen.append(torch.is_autocast_enabled("cpu")))

    def of(size: int | None) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=cached):
            return module(x, y) if size is None else single(module, x, y, size)

    plain = answer(lambda: of(None), wanted)
    assert plain[0].dtype == torch.bfloat16
    assert plain[-1].dtype == torch.float32
    seen.clear()
    assert_same(answer(lambda: of(size), wanted), plain, 3e-2)
    assert seen == [True] * (2 * -(-5 // size))
    seen.clear()
    out = single(module, x, y, 5)
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=cached):
        out.sum().backward()
    assert seen == [False, False]


def test_a_walk_leaves_no_cast_weights_without_gradient():
    module, (x, y) = Single(), two(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        single(module, x, y, 2)
        module(x, y).sum().backward()
    assert module.linear.weight.grad is not None


# Random numbers


@pytest.mark.parametrize("size", [1, 2, 5])
def test_dropout_is_drawn_again(size):
    """The slope of a linear function with dropout is its value at 1."""
    x = torch.ones(5, 50, dtype=torch.float64, requires_grad=True)
    module = nn.Dropout(0.5)
    torch.manual_seed(1)
    out = walk(module, rows=(x,), in_dims=-2, out_dims=-2, size=size)
    after = torch.get_rng_state()
    torch.rand(7)
    before = torch.get_rng_state()
    out.sum().backward()
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(x.grad, out)
    assert 0.3 < (out > 0).double().mean() < 0.7
    torch.manual_seed(1)
    pieces = [module(part) for part in x.split(size)]
    assert torch.equal(torch.cat(pieces), out)
    assert torch.equal(torch.get_rng_state(), after)


def test_generators_are_put_back_after_a_failure():
    x = torch.ones(5, 50, requires_grad=True)

    def fails_again(x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            raise KeyError("in the backward pass")
        return nn.functional.dropout(x)

    out = walk(fails_again, rows=(x,), in_dims=-2, out_dims=-2, size=2)
    before = torch.get_rng_state()
    with pytest.raises(KeyError, match="in the backward pass"):
        out.sum().backward()
    assert torch.equal(torch.get_rng_state(), before)


# Nested


class Nest(nn.Module):
    """A walk along one axis in a walk along another, with dropout in the inner one."""

    def __init__(self, outer: int | None, inner: int | None, dropout: float = 0.0) -> None:
        super().__init__()
        self.single = Single()
        self.scale = nn.Linear(4, 4)
        self.dropout = nn.Dropout(dropout)
        self.sizes = outer, inner

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self._go(self.rows, x, y, -3, self.sizes[0])

    def rows(self, x: Tensor, y: Tensor) -> Tensor:
        return self._go(self.inner, self.scale(x), y, -2, self.sizes[1])

    def inner(self, x: Tensor, y: Tensor) -> Tensor:
        return self.dropout(self.single(x, y))

    def _go(self, fn, x: Tensor, y: Tensor, dim: int, size: int | None) -> Tensor:
        if size is None:
            return fn(x, y)
        return walk(fn, rows=(x,), shared=(y,), in_dims=dim, out_dims=dim, size=size)


def nest_inputs() -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(5)
    x = torch.randn(3, 5, 4, generator=g, dtype=torch.float64)
    return x.requires_grad_(), two()[1].detach()[0].clone().requires_grad_()


@pytest.mark.parametrize("sizes", [(1, 1), (2, 2), (3, 2), (2, 9), (None, 2), (2, None)])
def test_a_walk_in_a_walk(sizes):
    plain, nested = double(Nest(None, None)), double(Nest(*sizes))
    x, y = nest_inputs()
    found = answer(lambda: nested(x, y), [x, y, *nested.parameters()])
    assert_same(found, answer(lambda: plain(x, y), [x, y, *plain.parameters()]))


def test_dropout_in_a_walk_in_a_walk():
    module, (x, y) = double(Nest(2, 2, dropout=0.5)), nest_inputs()
    torch.manual_seed(4)
    out = module(x, y)
    zero = out == 0
    assert 0 < zero.double().mean() < 1
    before = torch.get_rng_state()
    gradient = torch.autograd.grad(out.sum(), x)[0]
    assert torch.equal(torch.get_rng_state(), before)
    plain = 2 * double(Nest(None, None))(x, y) * ~zero
    assert_same([out.detach(), gradient], [plain.detach(), *torch.autograd.grad(plain.sum(), x)])


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_in_a_checkpoint(reentrant, dropout):
    module, (x, y) = double(Nest(2, 2, dropout)), nest_inputs()
    wanted = [x, y, *module.parameters()]

    def of(*, checkpointed: bool) -> list[Tensor]:
        for leaf in wanted:
            leaf.grad = None
        torch.manual_seed(4)
        out = checkpoint(twice, x, y, use_reentrant=reentrant) if checkpointed else twice(x, y)
        out.sum().backward()
        return [out.detach(), *(leaf.grad for leaf in wanted)]

    def twice(x: Tensor, y: Tensor) -> Tensor:
        return module(module(x, y).repeat_interleave(2, dim=-1)[..., :4], y)

    assert_same(of(checkpointed=True), of(checkpointed=False), 0.0)


def test_a_checkpoint_in_a_walk():
    module, (x, y) = double(Single()), two()
    wanted = [x, y, *module.parameters()]

    class Inside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return checkpoint(self.inner, x, y, use_reentrant=False)

    inside = Inside()
    found = answer(
        lambda: walk(inside, rows=(x,), shared=(y,), in_dims=-2, out_dims=-2, size=2), wanted
    )
    assert_same(found, answer(lambda: module(x, y), wanted))


# The policy


def test_in_slices_is_a_value():
    assert in_slices(3) == InSlices(3) != in_slices(4)
    assert hash(in_slices(3)) == hash(in_slices(3))
    assert repr(in_slices(3)) == "InSlices(size=3)"
    assert pickle.loads(pickle.dumps(in_slices(3))) == copy.deepcopy(in_slices(3)) == in_slices(3)
    with pytest.raises(AttributeError):
        in_slices(3).size = 4


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
