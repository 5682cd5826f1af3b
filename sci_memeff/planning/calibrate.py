"""A device's own numbers in place of a data sheet's: rates measured in a few seconds."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import torch

from sci_memeff.planning.targets import Target

__all__ = ["calibrated"]

REPEATS = 5
TINY = 200  # operations of one element, for what launching one takes


def calibrated(device: torch.device | str, name: str | None = None) -> Target:
    """The target that `device` is, by measurement: products, copies, tiny operations.

    Takes a few seconds and some 100 MB. The best of several runs counts, since other work on the
    machine only makes them slower.
    """
    device = torch.device(device)
    on_cuda = device.type == "cuda"
    size = 4096 if on_cuda else 1024
    block = torch.empty((256 if on_cuda else 64) << 20, dtype=torch.uint8, device=device)
    other = torch.empty_like(block)
    one = torch.ones(1, device=device)

    def tiny() -> None:
        for _ in range(TINY):
            one.add_(1)

    return Target(
        name=name or (torch.cuda.get_device_name(device) if on_cuda else "cpu, calibrated"),
        memory=_memory(device),
        half_flops=_product(size, torch.bfloat16, device),
        single_flops=_product(size, torch.float32, device),
        bandwidth=2 * block.nbytes / _seconds(lambda: other.copy_(block), device),
        host_link=_link(block) if on_cuda else 0.0,
        launch=_seconds(tiny, device) / TINY,
        efficiency=1.0,
    )


def _memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _product(size: int, dtype: torch.dtype, device: torch.device) -> float:
    left = torch.ones(size, size, dtype=dtype, device=device)
    return 2 * size**3 / _seconds(lambda: left @ left, device)


def _link(block: torch.Tensor) -> float:
    pinned = torch.empty(block.shape, dtype=block.dtype, pin_memory=True)
    return block.nbytes / _seconds(lambda: pinned.copy_(block, non_blocking=True), block.device)


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    """Of the fastest run."""
    best = float("inf")
    for _ in range(REPEATS + 1):
        began = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - began)
    return best
