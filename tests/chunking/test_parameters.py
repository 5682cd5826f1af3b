"""Which parameters a walk finds, how their gradients come back, and what it refuses to lose."""

from __future__ import annotations

import copy
from functools import partial, wraps

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from sci_memeff.chunking import walk
from sci_memeff.errors import BadWalkError

from .modules import answer, assert_same, double

SIZES = [2, 7]
MEND = "mend: give it among `shared`, or make the function a method of the nn.Module"


def rows() -> Tensor:
    g = torch.Generator().manual_seed(3)
    return torch.randn(7, 4, generator=g, dtype=torch.float64).requires_grad_()


def evaluate(fn, x: Tensor, size: int = 2) -> Tensor:
    return walk(fn, rows=(x,), in_dims=-2, out_dims=-2, size=size)


def compare(module: nn.Module, size: int, fn=None) -> None:
    x = rows()
    wanted = [x, *(p for p in module.parameters() if p.requires_grad)]
    plain = answer(lambda: (fn or module)(x), wanted)
    assert all(gradient is not None for gradient in plain)
    before = [id(p) for p in module.parameters()]
    assert_same(answer(lambda: evaluate(fn or module, x, size), wanted), plain)
    assert [id(p) for p in module.parameters()] == before


# Found


@pytest.mark.parametrize("size", SIZES)
def test_parametrized_modules(size):
    module = parametrizations.weight_norm(nn.Linear(4, 5))
    compare(double(nn.Sequential(module, parametrizations.orthogonal(nn.Linear(5, 5)))), size)


@pytest.mark.parametrize("size", SIZES)
def test_parameters_of_two_layers(size):
    layers = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Linear(4, 4))
    layers[2].weight = layers[0].weight
    layers[3] = layers[0]
    compare(double(layers), size)


@pytest.mark.parametrize("size", SIZES)
def test_frozen_parameters(size):
    layers = double(nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)))
    layers[0].weight.requires_grad_(False)
    compare(layers, size)
    evaluate(layers, rows(), size).sum().backward()
    assert layers[0].weight.grad is None


class Methods(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 5)

    def scaled(self, x: Tensor, scale: float = 1.0) -> Tensor:
        return self.linear(x * scale)


@pytest.mark.parametrize("wrap", ["method", "partial", "wrapped"])
def test_methods_and_wrappers_of_methods(wrap):
    module = double(Methods())

    @wraps(module.scaled)
    def wrapped(*args: Tensor) -> Tensor:
        return module.scaled(*args)

    of = {
        "method": module.scaled,
        "partial": partial(module.scaled, scale=3.0),
        "wrapped": wrapped,
    }
    compare(module, 2, of[wrap])


def test_what_a_function_gets_in_shared_needs_no_module():
    x, weight = rows(), torch.ones(5, 4, dtype=torch.float64, requires_grad=True)
    plain = answer(lambda: nn.functional.linear(x, weight), [x, weight])
    found = answer(
        lambda: walk(
            nn.functional.linear, rows=(x,), shared=(weight,), in_dims=-2, out_dims=-2, size=2
        ),
        [x, weight],
    )
    assert_same(found, plain)


# Returned through autograd


def test_hooks_run_once_a_backward_pass_and_nothing_else_writes_gradients():
    module, x = double(Methods()), rows()
    wanted = [2 * g for g in torch.autograd.grad(module.scaled(x).sum(), module.parameters())]
    calls, arrivals = [], []
    for name, parameter in module.named_parameters():
        parameter.register_hook(lambda grad, name=name: calls.append(name) or 2 * grad)
        parameter.register_post_accumulate_grad_hook(lambda p, name=name: arrivals.append(name))
    out = evaluate(module.scaled, x)
    torch.autograd.grad(out.sum(), x, retain_graph=True)
    assert arrivals == []
    assert all(p.grad is None for p in module.parameters())
    calls.clear()
    out.sum().backward()
    assert sorted(calls) == sorted(arrivals) == ["linear.bias", "linear.weight"]
    assert_same([p.grad for p in module.parameters()], wanted)


def test_two_walks_of_a_module_arrive_as_one_gradient():
    module, x = double(Methods()), rows()
    arrivals = []
    for name, parameter in module.named_parameters():
        parameter.register_post_accumulate_grad_hook(lambda p, name=name: arrivals.append(name))
    (evaluate(module.scaled, x) + evaluate(module.scaled, x.sin(), 3)).sum().backward()
    assert sorted(arrivals) == ["linear.bias", "linear.weight"]


def test_parameters_that_nothing_reads_have_no_gradient():
    module = double(nn.ModuleDict({"used": nn.Linear(4, 4), "unused": nn.Linear(4, 4)}))
    module.forward = module["used"].forward
    evaluate(module, rows()).sum().backward()
    assert module["used"].weight.grad is not None
    assert module["unused"].weight.grad is None


def test_a_failure_leaves_the_module_as_it_was():
    module, x = double(Methods()), rows()
    own = dict(module.named_parameters())
    out = evaluate(module.scaled, x)
    module.linear.forward = lambda x: 1 / 0
    with pytest.raises(ZeroDivisionError):
        out.sum().backward()
    assert dict(module.named_parameters()).keys() == own.keys()
    assert all(p is own[name] for name, p in module.named_parameters())


def test_a_copied_module_walks_its_own_parameters():
    module = double(Methods())
    other, x = copy.deepcopy(module), rows()
    evaluate(other.scaled, x).sum().backward()
    assert module.linear.weight.grad is None
    assert other.linear.weight.grad is not None


# Refused

GLOBAL = nn.Linear(4, 4).double()


def reads_a_global(x: Tensor) -> Tensor:
    return GLOBAL(x)


class NoModule:
    def __init__(self, weight: Tensor) -> None:
        self.weight = weight

    def method(self, x: Tensor) -> Tensor:
        return x * self.weight


def readers() -> dict:
    weight = torch.ones(4, dtype=torch.float64, requires_grad=True)
    some = {"first": weight * 2}
    module = double(Methods())
    method = module.scaled

    def through(x: Tensor) -> Tensor:
        return x * weight

    return {
        "weight, a tensor of shape (4,)": lambda x: x * weight,
        "some, a tensor of shape (4,)": lambda x: x * some["first"],
        "module, a Methods": lambda x: module.scaled(x),
        "method, a Methods": lambda x: method(x),
        "GLOBAL, a Linear": reads_a_global,
        "default 0, a tensor": lambda x, weight=weight: x * weight,
        "self.weight, a tensor": NoModule(weight).method,
        "scale, a tensor": partial(torch.addcmul, scale=weight),
        "its argument 0, a tensor": partial(torch.mul, weight),
        "through reads weight": lambda x: through(x) + 1,
    }


@pytest.mark.parametrize("name", readers())
def test_a_function_that_reads_more_than_its_arguments(name):
    fn = readers()[name]
    wanted = name.removeprefix("through reads ").replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(BadWalkError, match=rf"reads {wanted}") as caught:
        evaluate(fn, rows())
    assert caught.match("its gradient would be lost")
    assert caught.match(MEND)


def test_such_a_function_without_a_graph():
    weight = torch.ones(4, dtype=torch.float64, requires_grad=True)
    x = rows()
    with torch.no_grad():
        assert torch.equal(evaluate(lambda x: x * weight, x), x)


def test_functions_that_read_constants():
    constant, cell = torch.ones(4, dtype=torch.float64), []

    def recursive(x: Tensor, depth: int = 2) -> Tensor:
        return recursive(x, depth - 1) * constant + len(cell) if depth else x

    x = rows()
    assert torch.equal(evaluate(recursive, x), x)


class Hiding(nn.Module):
    """Reads something of its own that is no parameter."""

    def __init__(self, hidden) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.hidden = [hidden]

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) * self.hidden[0]


@pytest.mark.parametrize("size", SIZES)
def test_a_module_that_reads_a_hidden_leaf(size):
    module = double(Hiding(torch.ones(4, dtype=torch.float64, requires_grad=True)))
    out = evaluate(module, rows(), size)
    with pytest.raises(BadWalkError, match=r"Hiding reads a torch.float64 tensor of .* \(4,\) th"):
        out.sum().backward()


def test_a_module_that_reads_what_was_computed_from_its_own_parameter():
    module = double(Hiding(None))
    module.hidden[0] = module.linear.weight.sum(0)
    out = evaluate(module, rows())
    with pytest.raises(BadWalkError, match=r"Hiding reads .* \(4, 4\) that requires") as caught:
        out.sum().backward()
    assert caught.match(MEND)


def test_a_hidden_tensor_where_nothing_else_requires_a_gradient():
    module = double(Hiding(torch.ones(4, dtype=torch.float64, requires_grad=True)))
    module.requires_grad_(False)
    with pytest.raises(BadWalkError, match="Hiding reads a tensor that requires") as caught:
        evaluate(module, rows().detach())
    assert caught.match(MEND)


def test_a_stranger_that_is_returned():
    module = double(Hiding(torch.ones(2, 4, dtype=torch.float64, requires_grad=True)))
    module.forward = lambda x: (module.linear(x), module.hidden[0])
    out = walk(module, rows=(rows()[:2],), in_dims=-2, out_dims=-2, size=2)
    with pytest.raises(BadWalkError, match=r"Hiding reads .* \(2, 4\) that requires"):
        sum(x.sum() for x in out).backward()


def test_a_stranger_of_no_elements_loses_no_gradient():
    class Holder(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            none = torch.empty(0, dtype=x.dtype, requires_grad=True)
            return torch.cat([x, none.expand(*x.shape[:-1], 0)], -1).sin()

    x = rows()
    assert_same(answer(lambda: evaluate(Holder(), x), [x]), answer(lambda: x.sin(), [x]))
