"""Every allocator's refusal is told from other errors, as it is really raised here."""

import numpy as np
import pytest
import torch

from sci_memeff.errors import KeptTensorError
from sci_memeff.planning.out_of_memory import free_unused, is_out_of_memory

HUGE = 1 << 50


@pytest.mark.parametrize(
    "allocate",
    [lambda: torch.empty(HUGE), lambda: np.empty(HUGE), lambda: bytearray(HUGE)],
    ids=["torch", "numpy", "python"],
)
def test_what_allocators_of_the_cpu_raise(allocate):
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        allocate()
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        MemoryError(),
    ],
)
def test_what_others_raise(error):
    assert is_out_of_memory(error)
    wrapped = KeptTensorError("no", mend="none")
    wrapped.__cause__ = error
    assert is_out_of_memory(wrapped)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"),
        ValueError("out of memory"),
        KeyError("x"),
    ],
)
def test_other_errors_are_not(error):
    assert not is_out_of_memory(error)


def test_freeing_takes_what_only_cycles_hold():
    class Held:
        pass

    held = Held()
    held.itself = held
    held.tensor = torch.ones(3)
    import weakref

    alive = weakref.ref(held.tensor)
    del held
    free_unused()
    assert alive() is None
