"""Boundaries in 8 bits: an exact forward pass, gradients near the plain ones, and the bytes."""

from __future__ import annotations

import copy
import gc
import math
import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.multiprocessing.reductions import StorageWeakRef

from sci_memeff import Plan, Rule, apply, simulate
from sci_memeff._types import Iterate, in_turn
from sci_memeff.checkpointing import (
    Coded,
    Device,
    Disk,
    Host,
    in_segments,
    recomputed,
    watch_traffic,
)
from sci_memeff.errors import BadConfigError, SecondDerivativeError
from sci_memeff.precision.codecs import Fp8, Int8

from .stacks import Stack, answer, assert_bitwise, inputs

CODECS = [Fp8(), Fp8(rounding="stochastic"), Int8(), Int8(rounding="stochastic")]
FAR = 0.1


@pytest.fixture(params=["device", "host", "disk"])
def keep(request, tmp_path):
    stores = {
        "device": Device(),
        "host": Host(min_bytes=0),
        "disk": Disk(folder=str(tmp_path), min_bytes=0),
    }
    return stores[request.param]


def coded(codec=CODECS[0], keep=None) -> Coded:
    return Coded(codec, keep or Device(), min_bytes=0)


def bytes_of(count: int, codec=CODECS[0]) -> int:
    x, y, _ = inputs(torch.float32)
    return count * (codec.bytes(x.shape, x.dtype) + codec.bytes(y.shape, y.dtype))


# The answer


def calm(num_blocks: int) -> Stack:
    """One whose gradients do not change beyond all measure with its inputs."""
    stack = Stack(num_blocks, dropout=0.3)
    with torch.no_grad():
        for p in stack.parameters():
            p *= 0.2
    return stack


def off(found: list[Tensor | None], plain: list[Tensor | None]) -> float:
    """How far all gradients together are from the plain ones."""
    pairs = [(a, b) for a, b in zip(found, plain, strict=True) if a is not None]
    error = sum(float((a.double() - b.double()).square().sum()) for a, b in pairs if b is not None)
    return math.sqrt(error / sum(float(b.double().square().sum()) for _, b in pairs))  # type: ignore[union-attr]


@pytest.mark.parametrize("codec", CODECS, ids=str)
@pytest.mark.parametrize(
    ("dtype", "length"),
    [(torch.float32, 1), (torch.float32, 2), (torch.bfloat16, 7), (torch.float16, 1)],
)
def test_the_forward_pass_is_exact_and_the_backward_pass_near(length, dtype, codec, keep):
    stack, tensors = calm(5).to(dtype), inputs(dtype)
    plain = answer(stack, tensors, in_turn)
    iterate = in_segments(length, keep=coded(codec, keep))
    found = answer(stack, tensors, iterate)
    assert_bitwise(found[:2], plain[:2])
    assert_bitwise(found[-1:], plain[-1:])  # the generator
    assert 0 < off(found[2:-1], plain[2:-1]) < FAR
    assert_bitwise(answer(stack, tensors, iterate), found)
    inner = in_segments(length, inner=in_segments(1), keep=coded(codec, keep))
    assert_bitwise(answer(stack, tensors, inner), found)


def test_finer_codes_are_nearer():
    stack, tensors = calm(5), inputs(torch.float32)
    plain = answer(stack, tensors, in_turn)

    def error(codec) -> float:
        return off(answer(stack, tensors, in_segments(1, keep=coded(codec)))[2:-1], plain[2:-1])

    assert error(Int8()) < error(Fp8()) < error(Fp8(rounding="stochastic"))


def test_every_place_gives_the_same(tmp_path):
    stack, tensors = calm(5), inputs(torch.float32)
    stores = (Device(), Host(min_bytes=0), Host(min_bytes=0, ahead=False))
    stores = (*stores, Host(), Disk(folder=str(tmp_path), min_bytes=0))
    found = [answer(stack, tensors, in_segments(2, keep=coded(Fp8(), keep))) for keep in stores]
    for other in found[1:]:
        assert_bitwise(other, found[0])
    assert list(tmp_path.iterdir()) == []


def test_any_module_recomputed(keep):
    stack, tensors = calm(3), inputs(torch.float32)

    def of(plan: Plan) -> list[Tensor | None]:
        return answer(apply(stack, plan), tensors, in_turn)

    plain = of(Plan())
    use = recomputed(keep=coded(Fp8(), keep))
    with watch_traffic() as traffic:
        found = of(Plan(rules=(Rule(where="blocks.<0-2>", seam="forward", use=use),)))
    assert_bitwise(found[:2], plain[:2])
    assert 0 < off(found[2:-1], plain[2:-1]) < FAR
    # x and y of each, and k, of which nobody says here that it is a context
    k = Fp8().bytes(tensors[2].shape, torch.float32)
    assert traffic.stored_bytes == bytes_of(3) + k
    assert traffic.fetched_bytes == bytes_of(3) + 3 * k
    apply(stack, Plan())


def test_a_nan_stays_one():
    stack, (x, y, k) = Stack(3), inputs(torch.float32)
    for value in (torch.nan, torch.inf):
        x = x.detach().clone()
        x[0, 2, 1] = value
        x.requires_grad_()
        ((x1, y1),) = in_segments(1, keep=coded())(list(stack.blocks), (x * 1, y), context=(k,))
        grad = torch.autograd.grad(x1.sum() + y1.sum(), x)[0]
        assert grad[0, 2].isnan().any()
        assert grad[1].isfinite().all()


# What is kept


@pytest.mark.parametrize("codec", CODECS[::2], ids=str)
def test_what_moves_is_encoded(codec, keep):
    stack = Stack(5)
    with watch_traffic() as traffic:
        answer(stack, inputs(torch.float32), in_segments(1, keep=coded(codec, keep)))
    assert traffic.stored_tensors == traffic.fetched_tensors == 10
    assert traffic.stored_bytes == traffic.fetched_bytes == bytes_of(5, codec)


def test_files_hold_codes(tmp_path):
    stack, (x, y, k) = Stack(3), inputs(torch.float32)
    store = coded(Fp8(), Disk(folder=str(tmp_path), min_bytes=0))
    found = in_segments(1, keep=store)(list(stack.blocks), (x * 1, y * 1), context=(k,))
    files = [path for path in Path(tmp_path).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) == bytes_of(3)
    del found
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_other_types_and_small_tensors_are_kept_as_they_are(keep):
    def step(x: Tensor, index: Tensor, mask: Tensor, wide: Tensor) -> tuple[Tensor, ...]:
        return x * x[:, index] * mask + wide.float(), index.flip(0), ~mask, wide.sin()

    def of(iterate: Iterate) -> list[Tensor]:
        x = torch.randn(4, 10, generator=torch.Generator().manual_seed(0)).requires_grad_()
        index, mask, wide = torch.arange(10), torch.arange(10) % 2 > 0, torch.ones(4, 10).double()
        carry = (x * 1, index, mask, wide.requires_grad_())
        ((x1, *_),) = iterate([step] * 3, carry)
        return [x1, *torch.autograd.grad(x1.sum(), [x, wide])]

    plain = of(in_turn)
    with watch_traffic() as traffic:
        small = of(in_segments(1, keep=Coded(Int8(), keep, min_bytes=161)))
    assert_bitwise(small, plain)
    elsewhere = 3 * (160 + 80 + 10 + 320)  # of each step: x, index, mask, wide
    assert traffic.stored_bytes == (0 if keep == Device() else elsewhere)
    with watch_traffic() as traffic:
        found = of(in_segments(1, keep=Coded(Int8(), keep, min_bytes=160)))
    assert torch.equal(found[0], plain[0])
    codes = 3 * Int8().bytes((4, 10), torch.float32)
    assert traffic.stored_bytes == codes + (0 if keep == Device() else elsewhere - 3 * 160)


def test_a_store_asks_for_bytes_of_its_own():
    """Codes and scales go to the host together, or not at all."""
    codes = Fp8().bytes((2, 5, 4), torch.float32)
    stack, tensors = Stack(3), inputs(torch.float32)
    with FakeTensorMode() as mode:
        for least, expected in ((codes, True), (codes + 1, False)):
            store = Coded(Fp8(), Host(min_bytes=least), min_bytes=0)
            fakes = [mode.from_tensor(x) for x in tensors]
            copies = mode.from_tensor(stack.blocks[0].up.weight)  # any tensor of the mode
            shelf = store.opened(())
            with shelf.keeping():
                out = (fakes[0] * 1) * copies.sum()
            kept = out.grad_fn._raw_saved_self
            del kept
            elsewhere = [
                part._like.device.type
                for held in shelf._segments[0]
                for part in held.copy._parts
                if hasattr(part, "_like")
            ]
            assert elsewhere == (["meta"] * 2 if expected else [])


@pytest.mark.parametrize("codec", CODECS[::2], ids=str)
def test_boundaries_take_the_bytes_that_a_codec_says(codec):
    """While six steps are differentiated: codes of those to come, and one boundary decoded."""
    shape, given, alive = (40, 64), [], []
    plain = math.prod(shape) * 4

    def step(x: Tensor) -> tuple[Tensor]:
        given.append(StorageWeakRef(x.untyped_storage()))
        alive.append(sum(not ref.expired() for ref in given))
        return (x.sin(),)

    def net(keep):
        class Net(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.weight = torch.nn.Parameter(torch.ones(shape))

            def forward(self, x: Tensor) -> Tensor:
                ((x,),) = in_segments(1, keep=keep)([step] * 6, (x * self.weight,))
                return x.sum()

        return Net()

    def left(keep) -> int:
        found = simulate(
            lambda: net(keep), lambda model, x: model(x), torch.empty(shape), device="cpu"
        )
        return found.by_phase["forward"].left

    assert left(Device()) - left(coded(codec)) == 6 * (plain - codec.bytes(shape, torch.float32))
    given.clear()
    alive.clear()
    x = torch.ones(shape, requires_grad=True)
    ((out,),) = in_segments(1, keep=coded(codec))([step] * 6, (x * 1,))
    out.sum().backward()
    assert alive[6:] == [1] * 6  # the tensors themselves are nobody's


def test_fake_tensors_move_without_bytes(keep):
    tensors = inputs(torch.float32)
    with FakeTensorMode() as mode, watch_traffic() as traffic:
        stack = Stack(3, dropout=0.3)
        x, y, k = (mode.from_tensor(x) for x in tensors)
        ((x1, y1),) = in_segments(1, keep=coded(Fp8(), keep))(
            list(stack.blocks), (x * 1, y * 1), context=(k,)
        )
        (x1.sum() + y1.sum()).backward()
    assert x.grad.shape == x.shape
    assert traffic.stored_bytes == traffic.fetched_bytes == bytes_of(3)


# What it cannot do


def test_second_derivatives_are_refused_by_name(keep):
    stack, (x, y, k) = Stack(3), inputs(torch.float32)
    for inner in (None, in_segments(1)):
        iterate = in_segments(2, inner=inner, keep=coded(Fp8(), keep))
        ((x1, _),) = iterate(list(stack.blocks), (x * 1, y * 1), context=(k,))
        told = r"shape \(2, 5, 4\) is kept in fp8, and .*\n  mend: leave out create_graph=True"
        with pytest.raises(SecondDerivativeError, match=told):
            torch.autograd.grad(x1.sum(), x, create_graph=True)
    # a second backward pass is no second derivative
    ((x1, _),) = in_segments(2, keep=coded())(list(stack.blocks), (x * 1, y * 1), context=(k,))
    first = torch.autograd.grad(x1.sum(), x, retain_graph=True)
    assert_bitwise(torch.autograd.grad(x1.sum(), x), first)


def test_codes_are_not_encoded_again():
    with pytest.raises(BadConfigError, match=r"kept in Coded\(.*\n  mend: give keep=Device\(\)"):
        _ = _unchecked(coded())
    with pytest.raises(BadConfigError, match=r"at least -1 bytes\n  mend: give min_bytes of 0"):
        Coded(Fp8(), min_bytes=-1)


def _unchecked(keep: Coded) -> Coded:
    """The tests' own checks of types would refuse it before the store does."""
    made = copy.copy(keep)
    object.__setattr__(made, "keep", keep)
    made.__post_init__()
    return made


def test_it_is_a_value():
    store = Coded(Fp8(), Host())
    assert store == Coded(Fp8(64), Host()) != Coded(Fp8())
    assert len({store, Coded(Fp8(), Host()), Coded(Int8(), Host())}) == 2
    assert pickle.loads(pickle.dumps(store)) == copy.deepcopy(store) == store
