"""Functions that remember their results, while a step is simulated."""

from __future__ import annotations

from functools import cache, lru_cache

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from sci_memeff.measure.caches import forgetting


@lru_cache
def mask(length: int) -> Tensor:
    return torch.ones(length)


@cache
def other(length: int) -> Tensor:
    return torch.zeros(length)


def test_what_is_remembered_meanwhile_is_forgotten_and_all_else_is_not():
    kept = other(3)
    with forgetting(), FakeTensorMode():
        assert isinstance(mask(3), FakeTensor)
    assert not isinstance(mask(3), FakeTensor)
    assert other(3) is kept


def test_functions_that_come_meanwhile_are_meant_too():
    with forgetting():
        new = lru_cache(lambda length: torch.ones(length))
        new(2)
        new(3)
    assert new.cache_info().currsize == 0


def test_without_it_they_remember_a_fake_tensor():
    with FakeTensorMode():
        mask(5)
    assert isinstance(mask(5), FakeTensor)
    mask.cache_clear()
