"""Functions that remember their results, such as the mask of a shape, and not those of fakes."""

from __future__ import annotations

import functools
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["forgetting"]


@contextmanager
def forgetting() -> Iterator[None]:
    """What functions remember while this is open (`functools.lru_cache`), they forget after it.

    A real step would otherwise be given the fake tensors of a simulation. They forget what they
    knew before, too, and compute it again. torch's own functions are left alone.
    """
    before = {id(one): one.cache_info().misses for one in _caches()}
    try:
        yield
    finally:
        for one in _caches():
            if one.cache_info().misses != before.get(id(one), 0):
                one.cache_clear()


def _caches() -> list[Any]:
    return [
        one
        for one in gc.get_objects()
        if type(one) is functools._lru_cache_wrapper
        and not str(getattr(one, "__module__", "")).startswith("torch")
    ]
