"""An end to the CPU's memory that is told, where the kernel would kill the process."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["Guard", "available_bytes"]


class Guard(TorchDispatchMode):
    """Raises torch.OutOfMemoryError when tensors made inside would be more than `most` bytes.

    What was there before is not counted. It costs some microseconds an operation.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.live = 0
        self.peak = 0
        self.raised = 0
        self._known: dict[int, weakref.ref] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = {_storage(x)._cdata for x in tree_leaves((args, kwargs)) if _has_bytes(x)}
        out = func(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            if _has_bytes(x) and _storage(x)._cdata not in given:
                self._count(_storage(x))
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        if self.live + size > self.most:
            self.raised += 1
            raise torch.OutOfMemoryError(
                f"{size} bytes were asked for beside {self.live}, and there are {self.most}"
            )
        self.live += size
        self.peak = max(self.peak, self.live)

        def freed(_: object) -> None:
            del self._known[key]
            self.live -= size

        self._known[key] = weakref.ref(storage, freed)


def available_bytes() -> int | None:
    """What a new tensor could take of the CPU's memory; None where the system does not say."""
    found = []
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            found.append(1024 * int(line.split()[1]))
    most, used = (_lines(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current"))
    if most and used and most[0].isdigit():
        found.append(max(int(most[0]) - int(used[0]), 0))
    return min(found, default=None)


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _has_bytes(x: Any) -> bool:
    return isinstance(x, Tensor) and x.layout == torch.strided and not x.is_meta


def _storage(x: Tensor) -> torch.UntypedStorage:
    return x.untyped_storage()
