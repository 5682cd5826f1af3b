"""Carries kept on the host and on disk: the plain answer, each tensor once, and nothing left."""

from __future__ import annotations

import copy
import errno
import gc
import math
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.multiprocessing.reductions import StorageWeakRef

from sci_memeff._types import Iterate, in_turn
from sci_memeff.checkpointing import Device, Disk, Host, in_segments, watch_traffic
from sci_memeff.checkpointing.disk import DiskCopies
from sci_memeff.errors import BadConfigError, KeptTensorError

from .stacks import Stack, answer, assert_bitwise, inputs

X, Y = (x.nbytes for x in inputs()[:2])


@pytest.fixture(params=["host", "disk"])
def store(request, tmp_path):
    return Host(min_bytes=0) if request.param == "host" else disk(tmp_path)


def disk(folder: Path) -> Disk:
    return Disk(folder=str(folder), min_bytes=0)


# The answer


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("every", [False, True])
def test_the_answer_is_bitwise_the_plain_one(store, every, dtype):
    stack, tensors = Stack(5, dropout=0.3).to(dtype), inputs(dtype)
    plain = answer(stack, tensors, in_turn, every=every)
    for length in (1, 2, 3, 7):
        for inner in (None, in_segments(1)):
            iterate = in_segments(length, inner=inner, keep=store)
            assert_bitwise(answer(stack, tensors, iterate, every=every), plain)


def test_a_second_backward_pass(store):
    stack, (x, y, k) = Stack(5).double(), inputs()

    def of(iterate: Iterate) -> list[Tensor]:
        ((x1, y1),) = iterate(list(stack.blocks), (x, y), context=(k,))
        first = torch.autograd.grad(x1.sum(), [x, k], retain_graph=True)
        return [*first, *torch.autograd.grad(y1.sum(), [x, y, k])]

    assert_bitwise(of(in_segments(2, keep=store)), of(in_turn))


def odd(x: Tensor, *_: Tensor) -> tuple[Tensor, ...]:
    """Columns first, gaps, overlaps, integers, booleans, conjugates, one number, no number."""
    columns = (x.sin() * 2).transpose(-1, -2).contiguous().transpose(-1, -2)
    pairs = torch.view_as_complex(x.contiguous().view(2, 5, 2, 2)).conj()
    index = torch.arange(5)[None].expand(2, 5)
    return columns, x[:, 1:3], x[:1].expand(3, 5, 4), index, x > 0, pairs, x.sum(), x.new_zeros(0)


def test_layouts_and_dtypes(store):
    x = inputs()[0]
    seen = []

    def step(*carry: Tensor) -> tuple[Tensor, ...]:
        seen.append(
            [
                (c.dtype, c.shape, c.stride() if i in (0, 5, 6) else None)
                for i, c in enumerate(carry)
            ]
        )
        weights = enumerate(carry[1:])
        y = sum((c * (i + 1)).abs().square().sum() for i, c in weights if i not in (2, 3))
        return odd(carry[0] + y)

    def of(iterate: Iterate) -> list[Tensor]:
        carries = iterate([step] * 3, (x,), every=True)
        outputs = [c for carry in carries for c in carry]
        total = sum(c.abs().square().sum() for c in outputs if c.dtype != torch.bool)
        return [*outputs, *torch.autograd.grad(total, x)]

    plain = of(in_turn)
    seen.clear()
    found = of(in_segments(1, keep=store))
    for one, other in zip(found, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-13, atol=0)
    assert seen[:3] == seen[:2:-1]


# What moves


@pytest.mark.parametrize("depth", [1, 5, 7])
@pytest.mark.parametrize("length", [1, 2, 10])
@pytest.mark.parametrize("inner", [None, in_segments(1)])
def test_boundaries_move_once_each_way(store, depth, length, inner):
    stack = Stack(depth).double()
    with watch_traffic() as traffic:
        answer(stack, inputs(), in_segments(length, inner=inner, keep=store))
    count = math.ceil(depth / length)
    assert traffic.stored_tensors == traffic.fetched_tensors == 2 * count
    assert traffic.stored_bytes == traffic.fetched_bytes == count * (X + Y)


def test_small_tensors_and_the_context_stay(store):
    keep = copy.copy(store)
    object.__setattr__(keep, "min_bytes", X)
    stack = Stack(5).double()
    with watch_traffic() as traffic:
        answer(stack, inputs(), in_segments(1, keep=keep))
    assert traffic.stored_bytes == 5 * X  # no y, and k is as big as x


def test_a_tensor_that_passes_segments_by_is_stored_once(store):
    x, y, _ = inputs()
    with watch_traffic() as traffic:
        ((x1, y1, x2),) = in_segments(1, keep=store)(
            [lambda x, y, z: (x.sin(), y, x)] * 4, (x * 1, y * 1, x * 1)
        )
        (x1.sum() + y1.sum() + x2.sum()).backward()
    assert traffic.stored_bytes == 5 * X + Y  # the first x, z, y, then three new x


def test_storages_that_take_the_place_of_freed_ones_are_stored(store):
    """Addresses repeat, since nobody but the store holds a carry."""
    x, _, _ = inputs()

    def of(iterate: Iterate) -> list[Tensor]:
        ((out,),) = iterate([lambda x: (x.sin().cos() * 2,)] * 30, (x * 1,))
        return [out.detach(), *torch.autograd.grad(out.sum(), x)]

    with watch_traffic() as traffic:
        found = of(in_segments(1, keep=store))
    assert_bitwise(found, of(in_turn))
    assert traffic.stored_tensors == 30


def test_nothing_moves_without_a_gradient(store):
    stack, (x, y, k) = Stack(5), inputs(torch.float32)
    with watch_traffic() as traffic, torch.no_grad():
        in_segments(1, keep=store)(list(stack.blocks), (x, y), context=(k,))
    assert traffic.stored_tensors == 0


def test_carries_are_freed(store):
    """What a segment was given is nobody's, once it is stored."""
    given: list[StorageWeakRef] = []

    def step(x: Tensor) -> tuple[Tensor]:
        given.append(StorageWeakRef(x.untyped_storage()))
        return (x.sin() + 1,)

    (x, _, _) = inputs()
    for keep, alive in ((store, 0), (Device(), 6)):
        given.clear()
        ((x1,),) = in_segments(1, keep=keep)([step] * 6, (x * 1,))
        assert [ref.expired() for ref in given].count(False) == alive
        x1.sum().backward()
        del x1


# Files


def test_files_go_as_they_are_used(tmp_path):
    stack, (x, y, k) = Stack(5).double(), inputs()
    iterate = in_segments(2, keep=disk(tmp_path))
    left = []

    def note(*_) -> None:
        left.append(len(files(tmp_path)))

    ((x1, y1),) = iterate(list(stack.blocks), (x, y), context=(k,))
    assert len(files(tmp_path)) == 6
    assert {path.stat().st_size for path in files(tmp_path)} == {X, Y}
    for block in stack.blocks[::2]:
        block.register_forward_pre_hook(note)
    (x1.sum() + y1.sum()).backward()
    assert left == [6, 4, 2]
    assert list(tmp_path.iterdir()) == []


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("when", ["forward", "backward"])
def test_nothing_is_left_after_an_exception(tmp_path, when):
    stack, (x, y, k) = Stack(5).double(), inputs()

    def fails(*_) -> None:
        assert len(files(tmp_path)) > 0
        if stack.blocks[3].calls == (0 if when == "forward" else 1):
            raise KeyError("on purpose")

    stack.blocks[3].register_forward_pre_hook(fails)

    def step() -> None:
        ((x1, y1),) = in_segments(2, keep=disk(tmp_path))(list(stack.blocks), (x, y), context=(k,))
        (x1.sum() + y1.sum()).backward()

    with pytest.raises(KeyError, match="on purpose"):
        step()
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_when_the_graph_is_given_up(tmp_path):
    stack, (x, y, k) = Stack(5).double(), inputs()
    found = in_segments(2, keep=disk(tmp_path))(list(stack.blocks), (x, y), context=(k,))
    assert list(tmp_path.iterdir()) != []
    del found
    gc.collect()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("end", ["", "raise KeyError"])
def test_nothing_is_left_when_the_process_ends(tmp_path, end):
    program = f"""
import torch
from sci_memeff.checkpointing import Disk, in_segments
x = torch.ones(3, requires_grad=True)
out = in_segments(1, keep=Disk(min_bytes=0))([lambda x: (x.sin(),)] * 3, (x,))
import tempfile, os
print(len(os.listdir(tempfile.gettempdir())))
{end}
"""
    found = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout == "1\n", found.stderr
    assert list(tmp_path.iterdir()) == []


def test_no_such_folder(tmp_path):
    iterate = in_segments(2, keep=disk(tmp_path / "none"))
    with pytest.raises(KeptTensorError, match=r"none, and no folder .* No such file") as caught:
        answer(Stack(3).double(), inputs(), iterate)
    assert caught.match("mend: give Disk a folder that exists and may be written to")


def test_a_full_disk(tmp_path, monkeypatch):
    def full(self, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(
        KeptTensorError, match=r"320 bytes .* No space left .* bytes free"
    ) as caught:
        answer(Stack(3).double(), inputs(), in_segments(2, keep=disk(tmp_path)))
    assert caught.match("mend: give Disk a folder with more room, or make segments longer")
    del caught
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_files_that_others_touched(tmp_path):
    copies = DiskCopies(str(tmp_path))
    kept = copies(torch.arange(6.0))
    assert torch.equal(kept.fetch(), torch.arange(6.0))
    (path,) = files(tmp_path)
    path.write_bytes(b"123")
    with pytest.raises(KeptTensorError, match=r"24 bytes has 3 in") as caught:
        kept.fetch()
    assert caught.match("mend: give Disk a folder that nothing else writes to")
    path.unlink()
    with pytest.raises(KeptTensorError, match=r"cannot be read back .* No such file") as caught:
        kept.fetch()
    assert caught.match("mend: give Disk a folder that nothing cleans up")


# Changes in place


def test_what_stays_must_not_be_written_to(store):
    stack, (x, y, k) = Stack(3).double(), inputs()
    context = k * 1
    ((x1, _),) = in_segments(2, keep=store)(list(stack.blocks), (x, y), context=(context,))
    context.add_(1)
    with pytest.raises(KeptTensorError, match=r"\(2, 5, 4\) .* inplace operation") as caught:
        x1.sum().backward()
    assert caught.match("mend: let the operation write to a tensor of its own")


def test_what_was_copied_may_be_written_to(store):
    stack, (x, y, k) = Stack(3).double(), inputs()

    def of(iterate: Iterate) -> list[Tensor]:
        carry = x * 1, y * 1
        ((x1, y1),) = iterate(list(stack.blocks), carry, context=(k,))
        if iterate is not in_turn:
            carry[0].detach().mul_(2)
        return list(torch.autograd.grad(x1.sum() + y1.sum(), [x, y, k]))

    assert_bitwise(of(in_segments(2, keep=store)), of(in_turn))


# Fake tensors


def test_fake_tensors_move_without_bytes(store, tmp_path):
    tensors = inputs(torch.float32)
    with FakeTensorMode() as mode, watch_traffic() as traffic:
        stack = Stack(3, dropout=0.3)
        x, y, k = (mode.from_tensor(x) for x in tensors)
        ((x1, y1),) = in_segments(2, keep=store)(list(stack.blocks), (x, y), context=(k,))
        (x1.sum() + y1.sum()).backward()
    assert x.grad.shape == x.shape
    assert traffic.stored_bytes == traffic.fetched_bytes == X + Y  # two of each, in float32
    assert list(tmp_path.iterdir()) == []


# CUDA


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_host_frees_a_gpu_and_gives_it_back_bitwise():
    stack = Stack(8, dropout=0.3).cuda()
    tensors = [x.detach().cuda().requires_grad_() for x in inputs(torch.float32, n=200_000)]

    def of(iterate: Iterate) -> tuple[list, int]:
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.manual_seed(5)
        x, y, k = tensors
        ((x1, y1),) = iterate(list(stack.blocks), (x * 1, y * 1), context=(k,))
        torch.cuda.synchronize()
        held = torch.cuda.memory_allocated() - before
        gradients = torch.autograd.grad(x1.sum() + y1.sum(), [*tensors, *stack.parameters()])
        return [x1.detach(), y1.detach(), *gradients], held

    wanted, held_here = of(in_segments(1))
    for _ in range(3):
        found, held = of(in_segments(1, keep=Host()))
        assert_bitwise(found, wanted)
        assert held < held_here / 4


# The policy


def test_stores_are_values():
    assert Device() == Device()
    assert Host() == Host() != Host(min_bytes=3)
    assert Disk() != Disk(folder="/x")
    for value in (Device(), Host(min_bytes=3), Disk(folder="/x", min_bytes=0)):
        iterate = in_segments(2, keep=value)
        assert pickle.loads(pickle.dumps(iterate)) == copy.deepcopy(iterate) == iterate
        assert hash(iterate) == hash(copy.deepcopy(iterate))
        assert repr(value) in repr(iterate)


def test_bad_settings():
    with pytest.raises(BadConfigError, match="at least -1 bytes") as caught:
        Host(min_bytes=-1)
    assert caught.match("mend: give min_bytes of 0 or more")
    with pytest.raises(BadConfigError, match=r"(?s)Disk.*elsewhere .* all of them") as caught:
        in_segments(4, inner=in_segments(1, keep=Disk()))
    assert caught.match("mend: give `keep` and `spare` to the outer segments alone")
