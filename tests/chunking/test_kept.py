"""What a walk keeps: its inputs, once, and as they were."""

from __future__ import annotations

import gc
import io

import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.checkpoint import checkpoint

from sci_memeff._types import Walk
from sci_memeff.alphafold.outer_product_mean import OuterProductMean
from sci_memeff.alphafold.triangle_multiplication import TriangleMultiplication
from sci_memeff.chunking import in_slices, walk
from sci_memeff.errors import BadWalkError
from sci_memeff.measure import measure

from . import operands
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
from .operands import Operands


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


# What can be made again


@pytest.mark.parametrize(
    ("form", "freed"),
    [
        (operands.simple, [True]),
        (operands.from_own_rows, [True]),
        (operands.consumers, [True]),
        (operands.two_outputs, [True] * 3),
        (operands.last_output, [True] * 3),
        (operands.chain, [True, False]),
        (operands.end_of_chain, [True, False]),
        (operands.fork, [True, False, False]),
        (operands.also_rows, [False]),
        (operands.also_kept, [False]),
        (operands.written, [False]),
        (operands.viewed, [False]),
        (operands.detached, [False]),
    ],
)
@pytest.mark.parametrize("size", [2, 7])
def test_operands_that_are_freed(size, form, freed):
    module = double(Operands(form))
    module.walk = in_slices(size, recompute_shared=True)
    gc.disable()
    try:
        out = module(two(7)[0])
        assert [each.expired() for each in module.made] == freed
        module.made.clear()
        module.walk = in_slices(size)
        out = module(two(7)[0])
        used = [False, True, False] if form is operands.two_outputs else [False] * len(freed)
        used = [True, True, False] if form is operands.last_output else used
        assert [each.expired() for each in module.made] == used
    finally:
        gc.enable()
    del out


@pytest.mark.parametrize("kind", ["outgoing", "incoming", "outer product"])
def test_sublayers_keep_their_inputs_alone(kind):
    inner = (
        OuterProductMean(4, 5, 3) if kind == "outer product" else TriangleMultiplication(4, 3, kind)  # pyright: ignore[reportArgumentType]
    )
    x = torch.randn(2, 7, 7, 4, requires_grad=True)
    mask = torch.ones(2, 7, 7)
    packed: list[Tensor] = []

    def pack(x: Tensor) -> Tensor:
        packed.append(x)
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        inner.walk = in_slices(3, recompute_shared=True)
        out = inner(x, mask)
        assert {id(each) for each in packed} == {id(x), id(mask)}
        packed.clear()
        inner.walk = in_slices(3)
        out = inner(x, mask)
        (operand,) = (each for each in packed if each is not x and each is not mask)
        assert operand.shape[-1] == 3
    del out


class Stack(nn.Module):
    """Residual layers, each of them checkpointed or not."""

    def __init__(self, depth: int, walk: Walk, *, checkpointed: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Operands(operands.simple) for _ in range(depth))
        for layer in self.layers:
            layer.walk = walk  # pyright: ignore
        self.checkpointed = checkpointed

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            found = checkpoint(layer, x, use_reentrant=False) if self.checkpointed else layer(x)
            x = x + found[..., :4]
        return x


ROWS = 200 * 4 * 4  # bytes of the stack's rows
OPERAND = 200 * 6 * 4


def held_and_peak(depth: int, walk: Walk, *, checkpointed: bool = False) -> tuple[int, int]:
    """Bytes over input and parameters that are alive after the forward pass, and at most."""
    stack = Stack(depth, walk, checkpointed=checkpointed)
    x = torch.randn(200, 4, requires_grad=True)
    with measure(stack) as bytes_:
        bytes_.mark("inputs", [x])
        out = stack(x).sum()
        torch.empty(0)  # what is freed shows at the next operation
        held = sum(int(each[-1]) for kind, each in bytes_.over_time().items() if kind in OURS)
        if out.requires_grad:
            out.backward()
    return held - out.nbytes, bytes_.peak_over


OURS = ("gradients", "saved", "transient")


def test_a_stack_holds_its_rows_alone():
    """What the layers took for input, but for the first; and with operands, those of all."""
    for depth in (2, 8):
        held, _ = held_and_peak(depth, in_slices(50, recompute_shared=True))
        assert held == (depth - 1) * ROWS
        assert held_and_peak(depth, in_slices(50))[0] == held + depth * OPERAND


def test_a_checkpointed_stack_holds_no_more():
    again, kept = in_slices(50, recompute_shared=True), in_slices(50)
    for depth in (2, 8):
        held, peak = held_and_peak(depth, again, checkpointed=True)
        assert held == (depth - 1) * ROWS
        other_held, other_peak = held_and_peak(depth, kept, checkpointed=True)
        assert held == other_held
        assert peak <= other_peak


def test_nothing_is_held_without_a_graph():
    with torch.no_grad():
        runs = [
            held_and_peak(depth, in_slices(50, recompute_shared=again))
            for depth in (2, 8)
            for again in (False, True)
        ]
    assert {held for held, _ in runs} == {0}
    assert len({peak for _, peak in runs}) == 1


def test_an_operand_keeps_nothing_alive_that_it_was_made_from():
    module, leaf = double(Operands(operands.simple)), two(7)[0]
    module.walk = in_slices(2, recompute_shared=True)
    gc.disable()
    try:
        x = leaf * 1
        rows = StorageWeakRef(x.untyped_storage())
        operand = module.make(module.operand, x)
        out = module.use(x, shared=[operand])
        del x
        assert not rows.expired()
        out.sum().backward()
        assert rows.expired()
        del operand
        assert module.made[0].expired()
    finally:
        gc.enable()
    del out


def test_an_output_can_be_saved():
    module, (x, _) = double(Operands(operands.simple)), two()
    module.walk = in_slices(2, recompute_shared=True)
    buffer = io.BytesIO()
    operand = module.make(module.operand, x)
    torch.save(operand, buffer)
    buffer.seek(0)
    assert torch.equal(torch.load(buffer), operand)
