"""The highest number of bytes a process has held: what a progress line can show at no cost."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

__all__ = ["peak_bytes", "reset_peak"]

_STATUS = Path("/proc/self/status")
_FIELD = "VmHWM:"


def peak_bytes(device: torch.device) -> int:
    """Bytes held at the highest moment so far.

    On a CUDA device, those of torch's tensors since `reset_peak` (`max_memory_allocated`: without
    the allocator's unused cache and without the CUDA context). On a CPU, the peak resident set
    of the whole process since it began: interpreter and libraries included (about 0.3 GB),
    prefetching processes not. It never falls, and the C library's fragmentation can hold it above
    the live tensors.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # Linux: getrusage's figure would include what the parent held when it started this process
    if _STATUS.exists():
        for line in _STATUS.read_text().splitlines():
            if line.startswith(_FIELD):
                return int(line.split()[1]) * 1024
    return _rusage_bytes()


def reset_peak(device: torch.device) -> None:
    """Count anew from here on a CUDA device; a process's resident peak is left as it is."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _rusage_bytes() -> int:
    import resource  # POSIX only

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, others KiB
