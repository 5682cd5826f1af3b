"""What one run through a stack keeps elsewhere, and how it comes back."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef

from sci_memeff.errors import KeptTensorError

__all__ = ["Copy", "Shelf", "Traffic", "watch_traffic"]


@runtime_checkable
class Copy(Protocol):
    """A tensor's copy elsewhere; it is given up when nobody holds this."""

    nbytes: int
    """Of the copy."""

    def prefetch(self) -> None:
        """Say that `fetch` will follow soon."""

    def fetch(self) -> Tensor:
        """The tensor, on the device where it was, with the bytes and strides that it had."""
        ...


class Shelf:
    """Keeps big tensors as copies, each of them once, and everything else as it is.

    `copies` gives None for what is to stay after all. The context is the same for every segment,
    so moving it would free nothing. With `ahead`, the copies of one segment are sent for when the
    one after it begins.
    """

    def __init__(
        self,
        copies: Callable[[Tensor], Copy | None],
        context: Sequence[Tensor],
        min_bytes: int,
        *,
        ahead: bool = True,
    ) -> None:
        self._copies = copies
        self._min_bytes = min_bytes
        self._ahead = ahead
        self._stays = {x.untyped_storage()._cdata: x for x in context}
        self._known: dict[tuple[Any, ...], tuple[StorageWeakRef, weakref.ref[_Kept]]] = {}
        self._segments: list[weakref.WeakSet[_Kept]] = []
        self._current: int | None = None  # the one that the backward pass has come to

    def keeping(self) -> saved_tensors_hooks:
        """While this is open, what autograd saves is the boundary of the next segment."""
        self._segments.append(weakref.WeakSet())
        return saved_tensors_hooks(self._put, self._get)

    def _put(self, given: Tensor) -> _Placed | _Unmoved:
        tensor, storage = _unexpanded(given), given.untyped_storage()
        if tensor.nbytes < self._min_bytes or storage._cdata in self._stays:
            return _Unmoved(given, given._version)
        layout = (tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype)
        key = (storage._cdata, *layout, tensor._version)
        # while a weak reference to it is held, no other storage comes to lie at its address
        alive, known = self._known.get(key, (None, None))
        kept = known() if known and alive and not alive.expired() else None
        if kept is None:
            with torch.no_grad():
                copy = self._copies(tensor.detach())
            if copy is None:
                return _Unmoved(given, given._version)
            kept = _Kept(copy)
            self._known[key] = StorageWeakRef(storage), weakref.ref(kept)
            _note(stored=copy.nbytes)
        self._segments[-1].add(kept)
        return _Placed(kept, len(self._segments) - 1, given.shape)

    def _get(self, placed: _Placed | _Unmoved) -> Tensor:
        if isinstance(placed, _Unmoved):
            return placed.fetch()
        begins = placed.segment != self._current
        if begins:
            self._current = placed.segment
            self._prefetch(placed.segment)
        tensor = placed.kept.copy.fetch()
        _note(fetched=placed.kept.copy.nbytes)
        if begins and placed.segment and self._ahead:
            self._prefetch(placed.segment - 1)
        return tensor.expand(placed.shape)

    def _prefetch(self, segment: int) -> None:
        for kept in self._segments[segment]:
            kept.copy.prefetch()


def _unexpanded(tensor: Tensor) -> Tensor:
    """Without what only repeats: one of each dimension along which nothing moves in memory."""
    with torch.no_grad():
        for dim, stride in enumerate(tensor.stride()):
            if not stride and tensor.shape[dim] > 1:
                tensor = tensor.narrow(dim, 0, 1)
    return tensor


@dataclass(eq=False)
class _Kept:
    """A copy, which several segments may begin with."""

    copy: Copy


@dataclass(frozen=True, eq=False)
class _Placed:
    """One that the segment of this number begins with."""

    kept: _Kept
    segment: int
    shape: torch.Size


@dataclass(frozen=True, eq=False)
class _Unmoved:
    """A tensor that stays where it is. Autograd compares no versions where there are hooks."""

    tensor: Tensor
    version: int

    def fetch(self) -> Tensor:
        if self.tensor._version != self.version:
            raise KeptTensorError(
                f"a tensor of shape {tuple(self.tensor.shape)} that a stack keeps for its "
                "backward pass was modified by an inplace operation",
                mend="let the operation write to a tensor of its own",
            )
        return self.tensor


@dataclass
class Traffic:
    """What stores moved away or encoded, and back: bytes of the copies."""

    stored_tensors: int = 0
    stored_bytes: int = 0
    fetched_tensors: int = 0
    fetched_bytes: int = 0


_watchers: list[Traffic] = []


@contextmanager
def watch_traffic() -> Iterator[Traffic]:
    """Count what every store of this process moves, in any thread, simulated or not."""
    traffic = Traffic()
    _watchers.append(traffic)
    try:
        yield traffic
    finally:
        _watchers[:] = [other for other in _watchers if other is not traffic]


def _note(*, stored: int | None = None, fetched: int | None = None) -> None:
    for traffic in _watchers:
        if stored is not None:
            traffic.stored_tensors += 1
            traffic.stored_bytes += stored
        if fetched is not None:
            traffic.fetched_tensors += 1
            traffic.fetched_bytes += fetched
