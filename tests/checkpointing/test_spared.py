"""What is spared from recomputation: the plain answer, FLOPs and bytes counted."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from sci_memeff._types import Iterate, in_turn
from sci_memeff.checkpointing import Host, in_segments
from sci_memeff.checkpointing.spared import Sparing
from sci_memeff.errors import BadConfigError

from .stacks import Stack, answer, assert_bitwise, inputs

DEPTH, N = 5, 5
FORWARD = DEPTH * 2 * (2 * N) * (4 * 6 + 6 * 4 + 4 * 3)  # FLOPs of the stack's linear layers
PRODUCTS = DEPTH * (2 * N) * (6 + 4 + 3)  # numbers that they give


class Attending(nn.Module):
    """A step with fused attention: x (2, h, n, 8)."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        return (x + F.scaled_dot_product_attention(q, k, v).sin(),)


class Results(TorchDispatchMode):
    """The storages of what operations whose name ends so give."""

    def __init__(self, ending: str) -> None:
        super().__init__()
        self.ending = ending
        self.made: list[tuple[StorageWeakRef, int]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **kwargs or {})
        if func.name().endswith(self.ending):
            for x in tree_leaves(found):
                if isinstance(x, Tensor):
                    self.made.append((StorageWeakRef(x.untyped_storage()), x.nbytes))
        return found

    def alive(self) -> int:
        """Their bytes."""
        return sum(nbytes for ref, nbytes in self.made if not ref.expired())


def flops(iterate: Iterate, module: Stack) -> int:
    with FlopCounterMode(display=False) as counter:
        answer(module, inputs(n=N), iterate)
    return counter.get_total_flops()


@pytest.mark.parametrize("length", [1, 2, 10])
@pytest.mark.parametrize("keep", [None, Host(min_bytes=0)])
def test_the_answer_is_bitwise_the_plain_one(length, keep):
    stack, tensors = Stack(DEPTH, dropout=0.3).double(), inputs()
    iterate = in_segments(length, spare="matmul", **({"keep": keep} if keep else {}))
    for every in (False, True):
        found = answer(stack, tensors, iterate, every=every)
        assert_bitwise(found, answer(stack, tensors, in_turn, every=every))


@pytest.mark.parametrize("length", [1, 2, 10])
def test_no_product_is_computed_again(length):
    stack = Stack(DEPTH).double()
    plain = flops(in_turn, stack)
    assert plain == 3 * FORWARD
    assert flops(in_segments(length), stack) == plain + FORWARD
    assert flops(in_segments(length, spare="matmul"), stack) == plain


@pytest.mark.parametrize("spare", ["nothing", "matmul"])
def test_the_products_are_kept_until_they_are_used(spare):
    stack, (x, y, k) = Stack(DEPTH).double(), inputs(n=N)
    with Results("addmm") as results:
        iterate = in_segments(2, spare=spare)
        ((x1, y1),) = iterate(list(stack.blocks), (x, y), context=(k,))
        assert results.alive() == (PRODUCTS * 8 if spare == "matmul" else 0)
        (x1.sum() + y1.sum()).backward()
        assert results.alive() == 0


def test_attention_is_not_computed_again():
    steps = nn.ModuleList(Attending() for _ in range(3))
    x = torch.randn(2, 2, 6, 8, requires_grad=True)

    def of(iterate: Iterate) -> tuple[list[Tensor], int, int]:
        with Results("attention_for_cpu") as results, Results("addmm") as products:
            ((out,),) = iterate(list(steps), (x * 1,))
            found = torch.autograd.grad(out.sum(), [x, *steps.parameters()])
        return [out.detach(), *found], len(results.made), len(products.made)

    plain, *counts = of(in_turn)
    results_each = 2  # out and logsumexp
    assert counts == [3 * results_each, 3]
    for spare, wanted in (
        ("nothing", [6 * results_each, 6]),
        ("attention", [3 * results_each, 6]),
        ("matmul", [3 * results_each, 3]),
    ):
        found, *counts = of(in_segments(2, spare=spare))
        assert_bitwise(found, plain)
        assert counts == wanted


def test_fake_tensors():
    with FakeTensorMode() as mode:
        stack = Stack(3)
        x, y, k = (mode.from_tensor(x) for x in inputs(torch.float32))
        iterate = in_segments(2, spare="matmul")
        ((x1, y1),) = iterate(list(stack.blocks), (x, y), context=(k,))
        (x1.sum() + y1.sum()).backward()
    assert x.grad.shape == x.shape


def test_sparing_what_is_not_there():
    stack, (x, y, k) = Stack(2).double(), inputs()
    iterate = in_segments(2, spare="attention")
    with pytest.raises(
        BadConfigError, match=r"spare attention, and .* no such operation"
    ) as caught:
        iterate(list(stack.blocks), (x, y), context=(k,))
    assert caught.match("mend: put a kernel that is one operation on the steps' seams")
    with torch.no_grad():
        iterate(list(stack.blocks), (x, y), context=(k,))
    assert iterate([], (x,)) == [(x,)]


@pytest.mark.parametrize(
    ("spared", "name", "wanted"),
    [
        ("matmul", "aten::addmm", True),
        ("matmul", "aten::mm.out", True),
        ("matmul", "aten::mul.Tensor", False),
        ("matmul", "other::mm", False),
        ("matmul", "aten::_scaled_dot_product_flash_attention", True),
        ("attention", "aten::_scaled_dot_product_flash_attention_for_cpu", True),
        ("attention", "other::attention_forward", True),
        ("attention", "aten::bmm", False),
    ],
)
def test_which_operations(spared, name, wanted):
    assert Sparing(spared)._is_spared(name) is wanted


def test_the_policy_is_a_value():
    iterate = in_segments(2, spare="matmul")
    assert iterate == in_segments(2, spare="matmul") != in_segments(2)
    assert pickle.loads(pickle.dumps(iterate)) == copy.deepcopy(iterate) == iterate


def test_bad_settings():
    with pytest.raises(BadConfigError, match="cannot spare 'all'") as caught:
        Sparing("all")
    assert caught.match("mend: give one of 'nothing', 'attention', 'matmul'")
    with pytest.raises(BadConfigError, match="matmul, and inner ones would compute") as caught:
        in_segments(4, inner=in_segments(1), spare="matmul")
    assert caught.match("mend: leave out either `spare` or `inner`")
    with pytest.raises(BadConfigError, match=r"spare='matmul'.* all of them") as caught:
        in_segments(4, inner=in_segments(1, spare="matmul"))
    assert caught.match("mend: give `keep` and `spare` to the outer segments alone")
