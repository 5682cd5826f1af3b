"""What does not fit together is refused before or while it is evaluated."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from sci_memeff.chunking import walk
from sci_memeff.chunking.slices import Cut, cut
from sci_memeff.errors import BadWalkError

LEADING = "leading batch dimensions are then free"


def ones(*shape: int) -> Tensor:
    return torch.ones(*shape, requires_grad=True)


def plus(*tensors: Tensor) -> Tensor:
    return sum(tensors[1:], start=tensors[0])


def go(fn=plus, *, rows, shared=(), in_dims=-1, out_dims=-1, size=2):
    return walk(fn, rows=rows, shared=shared, in_dims=in_dims, out_dims=out_dims, size=size)


@pytest.mark.parametrize(
    ("length", "size", "slices"),
    [
        (7, 3, [(0, 3), (3, 3), (6, 1)]),
        (6, 3, [(0, 3), (3, 3)]),
        (3, 3, [(0, 3)]),
        (2, 3, [(0, 2)]),
        (2, 1, [(0, 1), (1, 1)]),
        (0, 3, [(0, 0)]),
    ],
)
def test_slices(length, size, slices):
    found = cut([torch.ones(length, 2)], -2, size)
    assert found == Cut((-2,), length, size)
    assert list(found) == slices
    assert found.is_whole == (len(slices) == 1)


@pytest.mark.parametrize("dim", [0, 1, 2, -3])
def test_dimensions_that_are_positive_or_out_of_range(dim):
    with pytest.raises(BadWalkError, match=rf"in_dims for rows\[0\] is {dim}, .*\(5, 3\)") as e:
        go(rows=(ones(5, 3),), in_dims=dim)
    assert e.match(f"mend: count dimensions from the end, from -1 to -2: {LEADING}")
    with pytest.raises(BadWalkError, match=rf"out_dims for output 0 is {dim}, .*\(5, 2\)") as e:
        go(rows=(ones(5, 3),), out_dims=dim)
    assert e.match(LEADING)


def test_the_row_that_lacks_a_dimension_is_named():
    with pytest.raises(BadWalkError, match=r"in_dims for rows\[1\] is -2, and the shape is \(5,\)"):
        go(rows=(ones(5, 3), ones(5)), in_dims=-2)


def test_axes_that_disagree():
    with pytest.raises(BadWalkError, match=r"lengths, \[5, 4\], along .* \[-2, -1\]") as caught:
        go(rows=(ones(5, 3), ones(4)), in_dims=(-2, -1))
    assert caught.match("mend: let in_dims name the same axis in every row; what lacks it belongs")


@pytest.mark.parametrize(("rows", "dims"), [(0, -1), (2, (-1,)), (1, (-1, -1))])
def test_as_many_dimensions_as_rows(rows, dims):
    with pytest.raises(BadWalkError, match=f"{rows} rows and . in_dims") as caught:
        go(rows=[ones(5)] * rows, in_dims=dims)
    assert caught.match("mend: give at least one row, and one dimension for all of them or one")


@pytest.mark.parametrize("size", [2, 5])
def test_as_many_out_dims_as_outputs(size):
    with pytest.raises(BadWalkError, match="returns 2 tensors, and there are 3 out_dims") as caught:
        go(lambda x: (x, x), rows=(ones(5),), out_dims=(-1, -1, -1), size=size)
    assert caught.match("mend: give one dimension for all outputs, or one for each")


@pytest.mark.parametrize("size", [2, 5])
def test_outputs_that_are_no_slices(size):
    match = rf"output 1, \(3,\), of a slice of {size} rows has 3 along dimension -1"
    with pytest.raises(BadWalkError, match=match) as caught:
        go(lambda x: (x, x.sum(-1)), rows=(ones(3, 5),), size=size)
    assert caught.match("mend: name in out_dims the axis .* such as a sum over rows, cannot be")


@pytest.mark.parametrize(
    "second",
    [
        lambda x: x.double(),
        lambda x: x[:1],
        lambda x: x[None],
        lambda x: (x, x),
        lambda x: (),
    ],
)
def test_slices_that_cannot_be_joined(second):
    calls = iter([lambda x: x, second])
    with pytest.raises(BadWalkError, match=r"which cannot be joined to \[\(\(2, 4\)") as caught:
        go(lambda x: next(calls)(x), rows=(ones(2, 4),))
    assert caught.match("mend: let the function's outputs differ along out_dims alone")


@pytest.mark.parametrize(
    ("output", "described"),
    [
        (None, "a NoneType"),
        ({"x": torch.ones(2)}, "a dict"),
        ((torch.ones(2), 1), "a tuple of Tensor, int"),
        ([torch.ones(2), None], "a list of Tensor, NoneType"),
    ],
)
def test_outputs_that_are_no_tensors(output, described):
    held = SimpleNamespace(output=output)
    with pytest.raises(BadWalkError, match=f"the function returns {described}") as caught:
        go(lambda x: held.output, rows=(ones(5),))
    assert caught.match("mend: let it return a tensor or a tuple of tensors")
