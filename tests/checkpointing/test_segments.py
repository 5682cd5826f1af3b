"""Stacks in segments: the plain answer bitwise, from boundaries alone, with the work counted."""

from __future__ import annotations

import copy
import math
import pickle
import re
import weakref

import pytest
import torch
from torch import Tensor, is_autocast_enabled, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.checkpoint import checkpoint

from sci_memeff._types import Iterate, in_turn
from sci_memeff.checkpointing import Host, InSegments, in_segments
from sci_memeff.chunking import in_slices
from sci_memeff.errors import BadConfigError
from sci_memeff.measure import measure

from .stacks import Stack, answer, assert_bitwise, inputs

DEPTHS = [1, 2, 5, 7]
LENGTHS = [1, 2, 3, 7, 10]
TWO_LEVELS = [
    in_segments(7, inner=in_segments(1)),
    in_segments(4, inner=in_segments(2)),
    in_segments(10, inner=in_segments(3, inner=in_segments(1))),
]


# The answer


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("depth", DEPTHS)
def test_the_answer_is_bitwise_the_plain_one(depth, every, dtype):
    stack, tensors = Stack(depth, dropout=0.3).to(dtype), inputs(dtype)
    plain = answer(stack, tensors, in_turn, every=every)
    for iterate in [*map(in_segments, [*LENGTHS, (3, 1), (1, 4, 2)]), *TWO_LEVELS]:
        assert_bitwise(answer(stack, tensors, iterate, every=every), plain)


@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("leave", [0, 1, 2, 5, 9])
def test_the_last_steps_may_be_left_as_they_are(leave, every):
    stack, tensors = Stack(5, dropout=0.3).double(), inputs()
    plain = answer(stack, tensors, in_turn, every=every)
    for iterate in (in_segments(2, leave=leave), in_segments(2, leave=leave, keep=Host())):
        stack.calls()
        assert_bitwise(answer(stack, tensors, iterate, every=every), plain)
        left = min(leave, 5)
        assert stack.calls() == [2] * (5 - left) + [1] * left


def test_fewer_than_no_steps_cannot_be_left():
    with pytest.raises(BadConfigError, match="mend: give leave of 0 or more"):
        in_segments(2, leave=-1)


def test_the_comparison_can_fail():
    stack, tensors = Stack(2, dropout=0.3).double(), inputs()
    plain = answer(stack, tensors, in_turn)
    dropped = answer(stack.eval(), tensors, in_turn)
    with pytest.raises(AssertionError):
        assert_bitwise(dropped, plain)


@pytest.mark.parametrize("iterate", [in_segments(2), TWO_LEVELS[1]])
def test_blocks_that_share_parameters(iterate):
    stack, tensors = Stack(7, dropout=0.3, shared=True).double(), inputs()
    assert_bitwise(answer(stack, tensors, iterate), answer(stack, tensors, in_turn))


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("iterate", [in_segments(2), TWO_LEVELS[1]])
def test_autocast_is_that_of_the_forward_pass(iterate, cached):
    stack, (x, y, k) = Stack(5, dropout=0.3), inputs(torch.float32)

    def of(iterate: Iterate) -> list[Tensor]:
        torch.manual_seed(5)
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=cached):
            ((x1, y1),) = iterate(list(stack.blocks), (x, y), context=(k,))
        assert x1.dtype == torch.float32
        return [x1, y1, *torch.autograd.grad((x1 + k).sum() + y1.sum(), [x, y, k, *weights])]

    weights = list(stack.parameters())
    seen = []
    stack.blocks[0].register_forward_pre_hook(lambda *_: seen.append(is_autocast_enabled("cpu")))
    plain = of(in_turn)
    assert_bitwise(of(iterate), plain)
    assert len(seen) == (3 if iterate.inner is None else 4)
    assert all(seen)
    with torch.autocast("cpu", torch.bfloat16, enabled=False):
        ((x1, _),) = in_turn(list(stack.blocks), (x, y), context=(k,))
    assert not torch.equal(x1, plain[0])


def test_inputs_without_gradient():
    stack = Stack(5).double()
    tensors = [x.detach() for x in inputs()]
    for iterate in (in_turn, in_segments(2)):
        ((x, y),) = iterate(list(stack.blocks), tuple(tensors[:2]), context=tensors[2:])
        (x + y.sum()).sum().backward()
        gradients = [p.grad for p in stack.parameters()]
        assert all(g is not None for g in gradients)
        stack.zero_grad()
        if iterate is in_turn:
            plain = gradients
    assert_bitwise(gradients, plain)


def test_an_empty_stack_gives_its_carry():
    carry = (torch.ones(1),)
    assert in_segments(3)([], carry) == [carry]
    assert in_segments(3, inner=in_segments(1))([], carry, every=True) == [carry]


def test_hooks_of_parameters_fire_once():
    stack, (x, y, k) = Stack(5).double(), inputs()
    fired = []
    for p in stack.parameters():
        p.register_post_accumulate_grad_hook(lambda p: fired.append(id(p)))
    ((x, y),) = in_segments(3, inner=in_segments(1))(list(stack.blocks), (x, y), context=(k,))
    (x.sum() + y.sum()).backward()
    assert sorted(fired) == sorted(id(p) for p in stack.parameters())


def test_a_second_backward_pass_and_one_of_one_output_alone():
    stack, tensors = Stack(5, dropout=0.3).double(), inputs()
    wanted = [*tensors, *stack.parameters()]

    def of(iterate: Iterate) -> list:
        torch.manual_seed(2)
        x, y, k = tensors
        ((x, y),) = iterate(list(stack.blocks), (x, y), context=(k,))
        first = torch.autograd.grad(x.sum(), wanted, retain_graph=True, allow_unused=True)
        return [*first, *torch.autograd.grad(y.sum(), wanted)]

    assert_bitwise(of(in_segments(2)), of(in_turn))
    assert_bitwise(of(TWO_LEVELS[1]), of(in_turn))


def test_second_derivatives():
    stack, (x, y, k) = Stack(3).double(), inputs()

    def of(iterate: Iterate) -> list:
        ((x1, y1),) = iterate(list(stack.blocks), (x, y), context=(k,))
        (slope,) = torch.autograd.grad(x1.sum() + y1.sum(), x, create_graph=True)
        return list(torch.autograd.grad(slope.square().sum(), [x, y, k, *stack.parameters()]))

    for found, plain in zip(of(in_segments(2)), of(in_turn), strict=True):
        torch.testing.assert_close(found, plain, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("reentrant", [False, True])
def test_in_a_checkpoint(reentrant):
    stack, tensors = Stack(5, dropout=0.3).double(), inputs()

    def wrapped(steps, carry, *, context=(), every=False):
        def run(*tensors: Tensor):
            return in_segments(2)(steps, tensors[:2], context=tensors[2:])[0]

        return [checkpoint(run, *carry, *context, use_reentrant=reentrant)]

    def of(iterate: Iterate) -> list[Tensor]:
        torch.manual_seed(5)
        stack.zero_grad()
        x, y, k = (x.detach().requires_grad_() for x in tensors)
        ((x1, y1),) = iterate(list(stack.blocks), (x, y), context=(k,))
        (x1.square().sum() + y1.sum()).backward()
        return [x1, y1, x.grad, y.grad, k.grad, *(p.grad for p in stack.parameters())]

    assert_bitwise(of(wrapped), of(in_turn))


# The work


def calls_of_a_segment(k: int, iterate: InSegments) -> list[int]:
    """Calls of each block in a segment of k: once forward, and once more for every level.

    What is recomputed only for the sake of inner boundaries stops at the last of those.
    """
    if iterate.inner is None:
        return [2] * k
    lengths = [min(iterate.inner.length, k - i) for i in range(0, k, iterate.inner.length)]
    inside = [n for length in lengths for n in calls_of_a_segment(length, iterate.inner)]
    kept = k - lengths[-1]
    return [n + (i < kept) for i, n in enumerate(inside)]


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("inner", [None, in_segments(1), in_segments(2, inner=in_segments(1))])
def test_calls_of_each_block(depth, length, inner):
    iterate = in_segments(length, inner=inner)
    stack = Stack(depth).double()
    answer(stack, inputs(), iterate)
    lengths = [min(length, depth - i) for i in range(0, depth, length)]
    assert stack.calls() == [n for k in lengths for n in calls_of_a_segment(k, iterate)]


def test_no_recomputation_without_a_gradient():
    stack, tensors = Stack(5).double(), inputs()
    with torch.no_grad():
        answer_only = in_segments(2)(list(stack.blocks), tuple(tensors[:2]), context=tensors[2:])
    assert stack.calls() == [1] * 5
    assert not answer_only[0][0].requires_grad


def test_the_last_operation_is_not_repeated():
    """What it gives is nobody's input."""
    calls = []

    class Noted(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x: Tensor) -> Tensor:
            calls.append(x)
            return x + 1

        @staticmethod
        def backward(ctx, grad: Tensor) -> Tensor:
            return grad

    def step(x: Tensor) -> tuple[Tensor]:
        return (Noted.apply(x.sin()),)

    ((x,),) = in_segments(1)([step], (torch.ones(3, requires_grad=True),))
    x.sum().backward()
    assert len(calls) == 1


# What is kept


def kept(depth: int, iterate: Iterate, *, every: bool = False) -> list[int]:
    """Sizes of the tensors that autograd keeps between the passes, but for leaves."""
    stack, (x, y, k) = Stack(depth).double(), inputs()
    held: list[Tensor] = []

    def pack(x: Tensor) -> Tensor:
        held.append(x)
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        iterate(list(stack.blocks), (x, y), context=(k,), every=every)
    return sorted(x.nbytes for x in held if x is not k)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("inner", [None, in_segments(1)])
def test_boundaries_alone_are_kept(depth, length, inner):
    _, (x, y, _) = Stack(1), inputs()
    for every in (False, True):
        found = kept(depth, in_segments(length, inner=inner), every=every)
        assert found == sorted([x.nbytes, y.nbytes] * math.ceil(depth / length))
    assert sum(found) < sum(kept(depth, in_turn))


@pytest.mark.parametrize(
    ("lengths", "boundaries"),
    [((4, 2, 1), 3), ((3, 1), 5), ((7, 5), 1), ((2, 2, 2, 2, 2), 4), ((1,), 7)],
)
def test_several_lengths(lengths, boundaries):
    """The last one is that of all segments after; what goes beyond the stack is left out."""
    _, (x, y, _) = Stack(1), inputs()
    assert kept(7, in_segments(lengths)) == sorted([x.nbytes, y.nbytes] * boundaries)


def test_decreasing_lengths_need_fewer_bytes():
    x = torch.randn(1000, requires_grad=True)

    def step(x: Tensor) -> tuple[Tensor]:
        return (x.sin().sin().sin(),)  # keeps three, where a boundary is one

    def peak(length: int | tuple[int, ...]) -> int:
        with measure() as bytes_:
            in_segments(length)([step] * 24, (x,))[0][0].sum().backward()
        return bytes_.peak_over

    uniform = min(map(peak, range(1, 25)))
    assert peak((4, 4, 3, 3, 3, 2, 2, 1, 1, 1)) < 0.9 * uniform
    assert peak((1, 1, 1, 2, 2, 3, 3, 3, 4, 4)) > uniform


def test_what_lies_inside_is_freed_and_comes_one_segment_at_a_time():
    """A mark on every step's graph: how many live at once in the backward pass."""
    marks: weakref.WeakSet = weakref.WeakSet()
    most = []

    class Marked(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x: Tensor) -> Tensor:
            inside = x * 1
            marks.add(inside)
            ctx.save_for_backward(inside)
            return x.clone()

        @staticmethod
        def backward(ctx, grad: Tensor) -> Tensor:
            (inside,) = ctx.saved_tensors
            most.append(len({x.data_ptr() for x in marks}))
            return grad * inside

    def step(x: Tensor) -> tuple[Tensor]:
        return (Marked.apply(x),)

    for iterate, wanted in ((in_turn, 6), (in_segments(2), 2), (TWO_LEVELS[0], 1)):
        most.clear()
        ((x,),) = iterate([step] * 6, (torch.ones(3, requires_grad=True),))
        if iterate is not in_turn:
            assert len(marks) == 0
        x.sum().backward()
        del x
        assert max(most) == wanted
        assert len(marks) == 0


# Fake tensors, walks


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("iterate", [in_segments(2), TWO_LEVELS[0]])
def test_fake_tensors(iterate, autocast):
    tensors = inputs(torch.float32)
    with FakeTensorMode() as mode, torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        stack = Stack(3, dropout=0.3)
        x, y, k = (mode.from_tensor(x) for x in tensors)
        ((x1, y1),) = iterate(list(stack.blocks), (x, y), context=(k,))
        (x1.sum() + y1.sum()).backward()
        assert [p.grad.shape for p in stack.parameters()] == [p.shape for p in stack.parameters()]
        assert x.grad.shape == x.shape
        assert stack.calls()[0] > 1


class Walked(nn.Module):
    """A step with a walk in it, and dropout in the walk."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.dropout = nn.Dropout(0.4)
        self.walk = in_slices(2)

    def forward(self, x: Tensor, k: Tensor) -> tuple[Tensor]:
        dims = {"in_dims": -2, "out_dims": -2}
        return (x + self.walk(self.rows, rows=(x,), shared=(k,), **dims),)

    def rows(self, x: Tensor, k: Tensor) -> Tensor:
        return self.dropout(self.linear(x).sin() * k[:, :1])


@pytest.mark.parametrize("iterate", [*map(in_segments, LENGTHS), *TWO_LEVELS])
def test_walks_inside(iterate):
    stack = nn.ModuleList(Walked() for _ in range(5)).double()
    x, _, k = inputs()

    def of(iterate: Iterate) -> list[Tensor]:
        torch.manual_seed(5)
        ((out,),) = iterate(list(stack), (x,), context=(k,))
        return [out.detach(), *torch.autograd.grad(out.sum(), [x, k, *stack.parameters()])]

    assert_bitwise(of(iterate), of(in_turn))


# The policy


def test_in_segments_is_a_value():
    one = in_segments(7, inner=in_segments(1))
    assert one == in_segments(7, inner=in_segments(1)) != in_segments(7)
    assert hash(one) == hash(in_segments(7, inner=in_segments(1)))
    assert "length=7" in repr(one)
    assert pickle.loads(pickle.dumps(one)) == copy.deepcopy(one) == one
    assert isinstance(one, Iterate)
    with pytest.raises(AttributeError):
        one.length = 4


@pytest.mark.parametrize("length", [0, -1, (), (3, 0)])
def test_lengths_that_are_none(length):
    with pytest.raises(
        BadConfigError, match=f"at least one step, .* {re.escape(str(length))}"
    ) as caught:
        in_segments(length)
    assert caught.match("mend: give a length of 1 or more; one beyond the stack")
