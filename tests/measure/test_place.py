"""Where bytes are born: modules and phases."""

from contextlib import suppress

import pytest
import torch
from torch import nn
from torch.nn.modules import module as hooks
from torch.optim import optimizer as optimizer_hooks
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack
from torch.utils.checkpoint import checkpoint

from sci_memeff.errors import BadConfigError
from sci_memeff.measure import measure

from .chains import MATRIX, PRODUCT, SCALAR, Chain, N, matrix, step


class Scaled(nn.Module):
    """Makes one matrix itself, and the rest in a layer below."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Chain(1)

    def forward(self, x):
        return self.inner(x) * 2.0


class Pair(nn.Module):
    def __init__(self, again: bool = False, *, reentrant: bool = False) -> None:
        super().__init__()
        self.first, self.second = Scaled(), Scaled()
        self.again, self.reentrant = again, reentrant

    def forward(self, x):
        for part in (self.first, self.second):
            x = checkpoint(part, x, use_reentrant=self.reentrant) if self.again else part(x)
        return x


def origins(measured) -> set[tuple[str, str, str]]:
    """Phase, module and operation of everything that was born."""
    log, history = measured._recorder.log, measured._now
    found = set()
    for birth, number in zip(history.births.tolist(), history.origins.tolist(), strict=True):
        if birth:
            origin = log.all_origins.names[number]
            phase = "/".join(log.all_phases.names[log.phases[birth]])
            found.add((phase, log.all_modules.names[origin.module], origin.what))
    return found


def test_backward_belongs_to_the_module_of_the_forward_operation():
    model = Pair()
    with measure(model) as bytes_:
        step(model, matrix()).backward()
    assert origins(bytes_) >= {
        ("forward", "first.inner.layers.0", "mm"),
        ("forward", "first.inner", "tanh"),
        ("forward", "first", "mul"),
        ("forward", "second", "mul"),
        ("backward", "second", "mul"),
        ("backward", "second.inner", "tanh_backward"),
        ("backward", "second.inner.layers.0", "mm"),
        ("backward", "first", "mul"),
        ("backward", "first.inner", "tanh_backward"),
        ("backward", "first.inner.layers.0", "mm"),
        ("forward", "", "sum"),
    }
    assert all(module for phase, module, what in origins(bytes_) if phase == "backward")
    modules = bytes_.by_module()
    assert modules["first.inner.layers.0"].flops == 2 * PRODUCT
    assert modules["second"].highest == MATRIX
    assert bytes_.by_module(1)["first"].flops == 2 * PRODUCT
    assert list(bytes_.by_module(1)) == sorted(
        bytes_.by_module(1), key=lambda name: -bytes_.by_module(1)[name].at_peak
    )


@pytest.mark.parametrize("reentrant", [False, True])
def test_recomputation_is_a_phase_and_knows_its_modules(reentrant):
    model = Pair(again=True, reentrant=reentrant)
    with measure(model) as bytes_:
        step(model, matrix()).backward()
    assert origins(bytes_) >= {
        ("recompute", "first.inner.layers.0", "mm"),
        ("recompute", "first.inner", "tanh"),
        ("backward", "first", "mul"),
        ("backward", "first.inner", "tanh_backward"),
        ("backward", "first.inner.layers.0", "mm"),
        ("recompute", "second.inner", "tanh"),
        ("backward", "second.inner", "tanh_backward"),
    }
    modules = bytes_.by_module()
    assert modules["first.inner.layers.0"].flops == 3 * PRODUCT
    assert modules["first.inner.layers.0"].recomputed == PRODUCT
    assert bytes_.recomputed_flops == 2 * PRODUCT


class Again(torch.autograd.Function):
    """Keeps its input alone, and computes `fn`, a method, anew when its gradient is asked for."""

    @staticmethod
    def forward(ctx, fn, x):
        ctx.fn = fn
        ctx.save_for_backward(x)
        with torch.no_grad():
            return fn(x)

    @staticmethod
    def backward(ctx, gradient):
        with torch.enable_grad():
            x = ctx.saved_tensors[0].detach().requires_grad_()
            y = ctx.fn(x)
        return None, *torch.autograd.grad(y, x, gradient)


class Walked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Chain(1)

    def rows(self, x):
        return (self.inner(x) * 2.0).exp()

    def forward(self, x):
        return Again.apply(self.rows, x)


def test_functions_that_recompute_methods_of_a_module():
    model = nn.Sequential(Walked(), Walked())
    with measure(model) as bytes_:
        step(model, matrix()).backward()
    for name in "01":
        assert origins(bytes_) >= {
            ("forward", name, "exp"),
            ("forward", f"{name}.inner", "tanh"),
            ("recompute", name, "exp"),
            ("recompute", name, "mul"),
            ("recompute", f"{name}.inner", "tanh"),
            ("backward", name, "mul"),
            ("backward", f"{name}.inner", "tanh_backward"),
            ("backward", f"{name}.inner.layers.0", "mm"),
        }
    assert {module for _, module, what in origins(bytes_) if what == "exp"} == {"0", "1"}


def test_a_second_derivative_is_no_recomputation():
    model, x = Chain(1), matrix()
    with measure(model) as bytes_:
        (force,) = torch.autograd.grad(step(model, x), x, create_graph=True)
        force.square().sum().backward()
    assert set(bytes_.by_phase) == {"forward", "backward"}
    assert bytes_.recomputed_flops == 0


def test_modules_outside_the_model_are_named_by_their_class():
    loss = nn.Sequential(nn.Tanh())
    model = Chain(1)
    with measure(model) as bytes_:
        loss(model(matrix())).sum().backward()
    assert ("forward", "(Sequential).0", "tanh") in origins(bytes_)
    with measure() as bytes_:
        model(matrix())
    assert ("forward", "(Chain).layers.0", "mm") in origins(bytes_)
    assert bytes_.by_kind["parameters"].highest == MATRIX


def test_hooks_of_the_user_s_own_keep_working_and_counting():
    model = Pair()
    seen = []
    handles = [
        model.first.register_forward_pre_hook(lambda module, inputs: seen.append("pre")),
        model.first.register_forward_hook(lambda module, inputs, output: output.exp()),
        model.first.register_full_backward_hook(lambda module, inputs, outputs: seen.append("b")),
    ]
    with measure(model) as bytes_:
        step(model, matrix()).backward()
    assert seen == ["pre", "b"]
    assert "exp" in {what for _, _, what in origins(bytes_)}
    for handle in handles:
        handle.remove()


def test_scripted_modules_are_counted_where_they_are_called():
    class Root(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            with pytest.warns(DeprecationWarning, match="jit.script"):
                self.scripted = torch.jit.script(nn.Sequential(nn.Linear(N, N), nn.Tanh()))

        def forward(self, x):
            return self.scripted(x).exp()

    model = Root()
    with measure(model) as bytes_:
        step(model, matrix()).backward()
    assert ("forward", "scripted", "tanh") in origins(bytes_)
    assert ("forward", "(Root)", "exp") in origins(bytes_)
    assert bytes_.by_kind["gradients"].highest == MATRIX + 4 * N + MATRIX


def globals_of_torch() -> list:
    return [
        dict(hooks._global_forward_pre_hooks),
        dict(hooks._global_forward_hooks),
        dict(hooks._global_forward_hooks_always_called),
        dict(optimizer_hooks._global_optimizer_pre_hooks),
        dict(optimizer_hooks._global_optimizer_post_hooks),
        _get_current_dispatch_mode_stack(),
    ]


def test_an_exception_leaves_nothing_behind():
    class Fails(nn.Module):
        def forward(self, x):
            raise ZeroDivisionError

    model = nn.Sequential(Chain(1), Fails())
    before = globals_of_torch()
    with suppress(ZeroDivisionError), measure(model) as bytes_:
        model(matrix())
    assert globals_of_torch() == before
    assert bytes_.peak >= MATRIX
    assert not any(module._forward_hooks for module in model.modules())


def test_an_exception_inside_leaves_its_module():
    class Fails(nn.Module):
        def forward(self, x):
            x.exp()
            raise ZeroDivisionError

    model = nn.Sequential(Fails())
    with measure(model) as bytes_:
        with suppress(ZeroDivisionError):
            model(matrix())
        matrix().sin()
    assert ("forward", "0", "exp") in origins(bytes_)
    assert ("forward", "", "sin") in origins(bytes_)


def test_one_measurement_inside_another():
    model, x = Chain(4, 2), matrix()
    with measure(model) as alone:
        step(model, x).backward()
    x.grad = None
    with measure(model) as outer, measure(model) as inner:
        step(model, x).backward()
    assert inner == alone
    assert outer == alone


def test_phases_of_the_user_nest():
    model, x = Chain(2), matrix()
    with measure(model) as bytes_, bytes_.phase("sample"):
        y = model(x)
        with bytes_.phase("loss"):
            total = y.exp().sum()
        total.backward()
    phases = bytes_.by_phase
    assert list(phases) == [
        "forward",
        "forward/sample",
        "forward/sample/loss",
        "backward",
        "backward/sample",
    ]
    assert phases["forward"] == phases["forward/sample"]
    assert phases["forward/sample/loss"].flops == 0
    assert phases["forward"].flops == phases["backward"].flops == 2 * PRODUCT
    assert max(phase.peak for phase in phases.values()) == bytes_.peak
    assert phases["backward"].left < phases["backward"].peak


def test_a_phase_may_be_named_as_what_it_is():
    with measure() as bytes_, bytes_.phase("optimizer"), bytes_.phase("averages"):
        matrix(requires_grad=False).mul_(2)
    assert list(bytes_.by_phase) == ["optimizer", "optimizer/averages"]


@pytest.mark.parametrize("name", ["", "a/b"])
def test_names_of_phases_are_checked(name):
    with measure() as bytes_, pytest.raises(BadConfigError, match="without '/', and nest"):
        bytes_.phase(name)


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.SGD, torch.optim.LBFGS])
def test_optimizers_are_a_phase_and_their_states_a_kind(kind):
    model, x = Chain(2, frozen=False), matrix(requires_grad=False)
    optimizer = kind(model.parameters(), lr=1e-3)

    def closure():
        optimizer.zero_grad()
        loss = step(model, x)
        loss.backward()
        return loss

    with measure(model) as bytes_:
        for _ in range(2):
            closure()
            optimizer.step(closure) if kind is torch.optim.LBFGS else optimizer.step()
    assert "optimizer" in bytes_.by_phase
    states = bytes_.by_kind["optimizer"].highest
    named = {(g.module, g.what) for g in bytes_.by_tensor() if g.kind == "optimizer"}
    if kind is torch.optim.Adam:
        assert states == 2 * 2 * MATRIX + 2 * SCALAR  # and the number of its steps
        assert ("layers.1", "exp_avg") in named
    if kind is torch.optim.SGD:
        assert states == 0


def test_what_is_computed_when_a_gradient_is_done_is_no_gradient():
    """States are released parameter by parameter, inside the backward pass."""
    model, x = Chain(4, frozen=False), matrix(requires_grad=False)
    with measure(model) as bytes_:

        def update(parameter):
            with bytes_.phase("optimizer"), torch.no_grad():
                parameter.sub_(parameter.grad * 0.1)
            parameter.grad = None

        handles = [p.register_post_accumulate_grad_hook(update) for p in model.parameters()]
        step(model, x).backward()
    assert bytes_.by_kind["gradients"].highest == MATRIX
    assert "optimizer" in bytes_.by_phase
    for handle in handles:
        handle.remove()


def test_gradients_that_are_set_by_hand_are_known_to_the_optimizer():
    model, x = Chain(2, frozen=False), matrix(requires_grad=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with measure(model) as bytes_:
        gradients = torch.autograd.grad(step(model, x), list(model.parameters()))
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()
    assert bytes_.by_kind["gradients"].highest == 2 * MATRIX
