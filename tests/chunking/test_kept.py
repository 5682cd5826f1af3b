"""What a walk keeps: its inputs, once, and as they were."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sci_memeff.chunking import walk
from sci_memeff.errors import BadWalkError

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
