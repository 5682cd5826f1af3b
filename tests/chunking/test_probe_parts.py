"""Parts of a probe: random operands, sets of arguments to try, small sizes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sci_memeff.chunking.probing.example import Example
from sci_memeff.chunking.probing.rows import candidates
from sci_memeff.chunking.probing.runs import RefusedError, Runs
from sci_memeff.chunking.probing.sizes import small_sizes

from .test_probe import Of, meta


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


# Random operands


def drawn(tensor: Tensor, draw: str = "normal", own: bool = True) -> Tensor:
    (found,) = Example.of((tensor,), {}).drawn({}, draw, own, generator())  # pyright: ignore
    return found


@pytest.mark.parametrize("draw", ["normal", "masks", "binary", "uneven", "positive"])
def test_booleans_and_masks_hold_zeros_and_ones_in_every_line(draw):
    as_float = torch.tensor([[0.0, 1.0, 1.0]] * 50)
    for mask in (meta(50, 3, dtype=torch.bool), as_float):
        found = drawn(mask, draw).double()
        assert set(found.unique().tolist()) == {0.0, 1.0}
        assert ((found.sum(-1) > 0) & (found.sum(-1) < 3)).all()


def test_floats_of_one_value_may_be_anything():
    for same in (torch.zeros(50, 3), torch.ones(50, 3), meta(50, 3)):
        assert len(drawn(same).unique()) == 150


def test_kinds_of_floats():
    example = Example.of((meta(100, 7), meta(100)), {})
    found = example.drawn({}, "masks", True, generator())
    assert (found[0] > 0).all()
    assert set(found[1].unique().tolist()) == {0.0, 1.0}
    found = example.drawn({}, "binary", True, generator())
    assert (found[0] < 0).any()
    assert set(found[1].unique().tolist()) == {0.0, 1.0}
    assert drawn(meta(1000), "uneven").abs().max() > 30


def test_integers_are_the_calls_own_or_0_and_1():
    index = torch.tensor([[3, 7], [-1, 3]])
    assert set(drawn(index.expand(50, 2, 2)).unique().tolist()) == {-1, 3, 7}
    assert set(drawn(index.expand(50, 2, 2), own=False).unique().tolist()) == {0, 1}
    assert set(drawn(index.expand(50, 2, 2), "binary").unique().tolist()) == {0, 1}
    assert set(drawn(meta(50, dtype=torch.int32)).unique().tolist()) == {0, 1}


def test_precision():
    assert drawn(meta(3, dtype=torch.bfloat16)).dtype is torch.float64
    assert drawn(meta(3, dtype=torch.complex64)).dtype is torch.complex128
    assert drawn(meta(3, dtype=torch.int32)).dtype is torch.int32


# Sets of arguments


def sets(length: int, *args, **kwargs) -> list[dict]:
    return [dict(x.in_dims) for x in candidates(Example.of(args, kwargs), length)]


def test_the_likely_sets_come_first():
    found = sets(30, meta(30, 5, 4), meta(30, 5), other=meta(30, 30))
    assert found[0] == {0: -3, 1: -2, "other": -2}  # the first axis of all
    assert {0: -3} in found
    assert {0: -3, 1: -2, "other": -1} in found
    assert len({tuple(sorted(x.items(), key=str)) for x in found}) == len(found)
    assert all(len(x) for x in found)


def test_an_argument_of_several_tensors_is_cut_along_an_axis_of_all():
    assert sets(30, [meta(30, 4), meta(1, 4)]) == [{0: -2}]
    assert sets(30, [meta(30, 4), meta(5, 4)]) == []
    assert sets(4, [meta(30, 4), meta(4)]) == [{0: -1}]
    assert sets(30, [meta(30, 4), meta(4)]) == []


def test_there_is_an_end_to_sets():
    assert len(sets(30, *(meta(30, 30, 30) for _ in range(8)))) == 128


# Small sizes


def small(module: nn.Module, *args: Tensor) -> list[tuple[int, ...]]:
    example = Example.of(args, {})
    sizes, runs = small_sizes(Runs(module.double(), example, generator()))
    return runs.example.shapes(sizes)


def test_free_axes_become_small_and_channels_stay():
    assert small(nn.Linear(16, 8), meta(300, 400, 16)) == [(3, 5, 16)]
    assert small(nn.Linear(16, 8), meta(16, 16, 16)) == [(5, 5, 16)]
    assert small(nn.Linear(16, 8), meta(2, 1, 16)) == [(3, 1, 16)]
    assert small(nn.Conv1d(16, 8, 3), meta(300, 16, 16)) == [(5, 16, 3)]
    assert small(nn.Tanh(), meta(300, 400)) == [(3, 5)]


def test_axes_that_want_more_get_more():
    assert small(nn.Conv1d(4, 8, 9), meta(300, 4, 400)) == [(3, 4, 16)]
    many = Of(lambda x: x.unflatten(-1, (-1, 32)).sum(-1))
    assert small(many, meta(300, 320)) == [(3, 32)]
    own = Of(lambda x: x * x[..., 319])
    assert small(own, meta(320)) == [(320,)]


def test_indices_become_small_with_what_they_point_into():
    assert small(Of(lambda x, i: x[i]), meta(300, 4), torch.arange(300)) == [(5, 3), (5,)]


def test_sizes_that_cannot_be_found():
    with pytest.raises(
        RefusedError, match=r"at small sizes it raises RuntimeError.*more than 64 M"
    ):
        small(Of(lambda x: x.reshape(9_999_999)), meta(9_999_999))
