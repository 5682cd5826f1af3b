"""Telling that an allocator had no more memory, whichever it was; giving back what is unused."""

from __future__ import annotations

import gc

import torch

__all__ = ["free_unused", "is_out_of_memory"]

# What allocators say that raise a mere RuntimeError: torch's on the CPU, drivers, cuBLAS's own.
_SAID = ("can't allocate memory", "out of memory", "STATUS_ALLOC_FAILED", "failed to allocate")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error`, or what it was raised from, is an allocator's refusal.

    `torch.OutOfMemoryError` of accelerators, `MemoryError` of Python and numpy, and the
    RuntimeErrors of torch's CPU allocator and of CUDA's libraries. On Linux, memory of the CPU is
    mostly promised and not there: the kernel then kills the process, and nobody is told.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, (torch.OutOfMemoryError, MemoryError)):
            return True
        if isinstance(cause, RuntimeError) and any(said in str(cause) for said in _SAID):
            return True
        cause = cause.__cause__
    return False


def free_unused() -> None:
    """Give back what nobody refers to; call it after the `except` clause.

    Within the clause, the error's traceback still holds every tensor of the frames it went through.
    """
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
