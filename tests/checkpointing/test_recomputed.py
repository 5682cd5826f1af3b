"""Modules that are computed again: the plain answer bitwise, from their arguments alone."""

from __future__ import annotations

import copy
import pickle
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sci_memeff import Plan, Rule, apply
from sci_memeff._types import Forward, plainly
from sci_memeff.checkpointing import Device, Disk, Host, Recomputed, recomputed, watch_traffic
from sci_memeff.checkpointing.recomputed import _shelves
from sci_memeff.errors import BadConfigError
from sci_memeff.measure import measure

from .stacks import assert_bitwise

STORES = [Device(), Host(min_bytes=0), Disk(min_bytes=0)]


class Pair(NamedTuple):
    first: Tensor
    second: Tensor | None


class Layer(nn.Module):
    """Takes and gives all sorts of things, and counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(4, 16)
        self.down = nn.Linear(16, 4)
        self.drop = nn.Dropout(0.4)
        self.calls = 0

    def forward(self, x: Tensor, others: dict[str, Any], *, scale: float = 1.0, pair: Pair) -> Any:
        self.calls += 1
        assert others["name"] == "gate"
        assert pair.second is None
        h = self.drop(self.up(x).tanh()) * scale
        y = self.down(h) * others["gates"][0] + pair.first
        return {"y": y, "more": [y.sin(), None, "text"]}


def leaves(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    g = torch.Generator().manual_seed(3)
    return [torch.randn(3, 4, generator=g).to(dtype).requires_grad_() for _ in range(3)]


def answer(layer: Layer, use: Forward, inputs: list[Tensor]) -> list[Tensor | None]:
    torch.manual_seed(7)
    x, gate, first = inputs
    others = {"name": "gate", "gates": (gate * 1,)}
    found = use(layer.forward, (x * 1, others), {"scale": 2.0, "pair": Pair(first * 1, None)})
    assert found["more"][1:] == [None, "text"]
    total = found["y"].square().sum() + found["more"][0].sum()
    wanted = [*inputs, *layer.parameters()]
    return [found["y"].detach(), *torch.autograd.grad(total, wanted), torch.get_rng_state()]


@pytest.mark.parametrize("keep", STORES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_answer_is_bitwise_the_plain_one(dtype, keep):
    layer = Layer().to(dtype)
    plain = answer(layer, plainly, leaves(dtype))
    assert layer.calls == 1
    assert_bitwise(answer(layer, recomputed(keep), leaves(dtype)), plain)
    assert layer.calls == 3
    with pytest.raises(AssertionError):
        assert_bitwise(answer(layer.eval(), recomputed(keep), leaves(dtype)), plain)


def test_autocast_is_that_of_the_forward_pass():
    layer = nn.Linear(4, 4)
    x = leaves(torch.float32)[0]
    seen = []
    layer.register_forward_pre_hook(lambda *_: seen.append(None))

    def of(use: Forward) -> list[Tensor | None]:
        with torch.autocast("cpu", torch.bfloat16):
            y = use(Half(layer).forward, (x,), {})
        assert y.dtype == torch.bfloat16
        return [y.detach(), *torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])]

    assert_bitwise(of(recomputed()), of(plainly))
    assert len(seen) == 3


class Half(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x).sigmoid()


class Chain(nn.Module):
    """Blocks of three sines, and one at the end."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Sines() for _ in range(length))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x.sin()


class Sines(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sin().sin().sin()


def test_only_the_arguments_are_kept():
    x = torch.randn(64, 64, requires_grad=True)

    def peak(length: int, use: Forward) -> int:
        model = apply(Chain(length), Plan(rules=(Rule(where="blocks.*", seam="forward", use=use),)))
        with measure(model) as bytes_:
            torch.autograd.grad(model(x).sum(), x)
        return bytes_.peak_over // x.nbytes

    assert peak(8, plainly) - peak(4, plainly) == 4 * 3
    assert peak(8, recomputed()) - peak(4, recomputed()) == 4
    assert peak(4, recomputed()) == peak(4, naively)


def test_without_gradients_nothing_is_kept():
    with watch_traffic() as traffic, torch.no_grad():
        recomputed(Host(min_bytes=0))(Sines().forward, (torch.ones(3, requires_grad=True),), {})
    assert traffic.stored_tensors == 0


# Buffers


class Counting(nn.Module):
    """Reads what it then writes, in place and not, as a codebook or a power iteration does."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.register_buffer("moved", torch.ones(4))
        self.register_buffer("replaced", torch.ones(4))
        self.register_buffer("fixed", torch.arange(4))

    def forward(self, x: Tensor) -> Tensor:
        y = (self.norm(x) * self.moved.clone()).sin() * self.replaced * self.fixed
        with torch.no_grad():
            self.moved.mul_(0.5).add_(x.mean(0))
            self.replaced = self.replaced + x.std(0)
        return y.tanh()


@pytest.mark.parametrize("training", [True, False])
def test_buffers_are_written_once_and_read_as_they_were(training):
    def of(use: Forward) -> list[Tensor | None]:
        torch.manual_seed(2)
        layer = Counting().train(training)
        buffers = dict(layer.named_buffers())
        x = torch.randn(5, 4, requires_grad=True)
        y = use(layer.forward, (x,), {})
        after = [buffer.clone() for buffer in layer.buffers()]
        loss = use(layer.forward, (y,), {}).square().sum()
        wanted = [x, *layer.parameters()]
        twice = [torch.autograd.grad(loss, wanted, retain_graph=True) for _ in range(2)]
        assert_bitwise(*twice)
        assert layer.moved is buffers["moved"]
        assert layer.norm.running_mean is buffers["norm.running_mean"]
        return [loss.detach(), *twice[0], *after, *layer.buffers()]

    plain = of(plainly)
    assert_bitwise(of(recomputed()), plain)
    with pytest.raises(AssertionError):
        assert_bitwise(of(naively), plain)


def naively(forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return checkpoint(forward, *args, use_reentrant=False, **kwargs)


class Scripted(nn.Module):
    """Half of it is TorchScript, with a buffer of its own; what follows keeps nothing."""

    def __init__(self) -> None:
        super().__init__()
        inner = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.BatchNorm1d(4)).double().eval()
        self.inner = torch.jit.trace(inner, torch.zeros(3, 4, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.sin()) + 1


@pytest.mark.filterwarnings("ignore:`torch.jit.trace")
def test_parts_of_torchscript_are_run_to_their_end():
    module, x = Scripted(), leaves()[0]

    def gradients(use: Forward) -> list[Tensor]:
        found = use(module.forward, (x,), {})
        return list(torch.autograd.grad(found.sum(), [x, *module.parameters()]))

    assert_bitwise(gradients(recomputed()), gradients(plainly))


def test_a_module_within_one():
    def of(use: Forward, inner: Forward) -> list[Tensor | None]:
        torch.manual_seed(2)
        layer = Counting()
        outer = nn.Sequential(layer, nn.Linear(4, 4), nn.Dropout(0.3))
        rule = Rule(where="0", seam="forward", use=inner)
        apply(outer, Plan(rules=(rule,)))
        x = torch.randn(5, 4, requires_grad=True)
        y = use(outer.forward, (x,), {})
        gradients = torch.autograd.grad(y.square().sum(), [x, *outer.parameters()])
        return [y.detach(), *gradients, *outer.buffers()]

    assert_bitwise(of(recomputed(), recomputed()), of(plainly, plainly))


# Stores, and values


def test_modules_move_what_they_share_once_and_let_it_go():
    keep = Host(min_bytes=0)
    x, shared = (torch.randn(8, 8, requires_grad=True) for _ in range(2))

    def step() -> None:
        y = x * 1
        for _ in range(3):
            y = recomputed(keep)(_Both().forward, (y,), {"shared": shared})
        y.sum().backward()

    for _ in range(2):
        with watch_traffic() as traffic:
            step()
        assert (traffic.stored_tensors, traffic.fetched_tensors) == (4, 6)
        assert not _shelves


class _Both(nn.Module):
    def forward(self, x: Tensor, shared: Tensor) -> Tensor:
        return (x.sin() * shared).sin()


def test_spared_operations_are_not_run_again():
    def flops(use: Forward) -> int:
        x = torch.randn(3, 4, requires_grad=True)
        with measure() as bytes_:
            use(Half(nn.Linear(4, 4)).forward, (x,), {}).sum().backward()
        return bytes_.recomputed_flops

    assert flops(recomputed()) > flops(recomputed(spare="matmul")) == 0
    with pytest.raises(BadConfigError, match="mend: put a kernel that is one operation"):
        recomputed(spare="attention")(Sines().forward, (torch.ones(2, requires_grad=True),), {})


@pytest.mark.parametrize("way", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_they_are_values(way):
    use = recomputed(Host(), spare="matmul")
    assert way(use) == use == Recomputed(Host(), "matmul") != recomputed()
    assert hash(way(use)) == hash(use)


@pytest.mark.parametrize("keep", STORES, ids=str)
def test_one_tensor_given_twice_is_one_tensor_again(keep):
    class Asks(nn.Module):
        """As attention does, of its key and its value."""

        def forward(self, key: Tensor, value: Tensor, others: list[Tensor]) -> Tensor:
            same = key is value and value is others[1]
            return (key * 2).sin() if same else key.sin() * value

    x, other = leaves()[:2]
    moved = x * 1
    recomputed(keep)(Asks().forward, (moved, moved, [other, moved]), {}).sum().backward()
    plain = x.detach().requires_grad_()
    (plain * 2).sin().sum().backward()
    assert_bitwise([x.grad], [plain.grad])
