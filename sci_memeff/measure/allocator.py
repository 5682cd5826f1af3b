"""What CUDA's caching allocator held while a step was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["AllocatorPeak", "allocator_peak"]


@dataclass(frozen=True, kw_only=True)
class AllocatorPeak:
    """Highest figures, bytes. They need not be of the same moment.

    allocated: all of torch's blocks in use, each rounded up, workspaces and what lived before
    included; reserved: what was taken from the device; inactive_split: free pieces of blocks that
    are partly in use, which cannot be given back; retries: how often the cache had to be emptied.
    """

    allocated: int
    reserved: int
    inactive_split: int
    retries: int

    @property
    def fragmentation(self) -> float:
        """The part of the reserved bytes that was never in use at once, 0 to 1."""
        return 1 - self.allocated / self.reserved if self.reserved else 0.0


def allocator_peak(stats: Mapping[str, Any], *, retries_before: int = 0) -> AllocatorPeak:
    """From `torch.cuda.memory_stats()`; what is missing there counts as 0."""
    return AllocatorPeak(
        allocated=stats.get("allocated_bytes.all.peak", 0),
        reserved=stats.get("reserved_bytes.all.peak", 0),
        inactive_split=stats.get("inactive_split_bytes.all.peak", 0),
        retries=stats.get("num_alloc_retries", 0) - retries_before,
    )
