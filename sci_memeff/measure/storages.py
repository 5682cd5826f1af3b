"""Follow storages from birth to the moment they are freed, whoever holds them.

A storage's Python object lives exactly as long as the storage itself, tensors that only autograd
keeps included, so the callback of a weak reference to it is the moment of its death.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import (
    _disable_current_modes,
    is_traceable_wrapper_subclass,
)

from sci_memeff.measure.log import Kind, Log, Origin

__all__ = ["Storages", "parts"]


class _Followed(weakref.ref):
    """A weak reference to a storage, with what is on record of it."""

    __slots__ = ("key", "row", "size")

    key: int
    row: int
    size: int


class _AreTensors(dict[type, bool]):
    """Whether a class is one of tensors, found out once for each."""

    def __missing__(self, kind: type) -> bool:
        self[kind] = found = issubclass(kind, Tensor)
        return found


class Storages:
    """Every storage that has been seen and still lives."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self._alive: dict[int, _Followed] = {}
        self._before: dict[int, weakref.ref] = {}

    def note_existing(self) -> None:
        """Remember which storages exist, so that those first used later count from now on."""
        is_tensor = _AreTensors()  # of a million objects: `isinstance` would run their own code
        existing = [thing for thing in gc.get_objects() if is_tensor[type(thing)]]
        with _disable_current_modes():  # fake tensors' mode refuses real ones
            for found in existing:
                # Whoever's they are: wrappers without a storage, parameters without a shape yet.
                with suppress(RuntimeError, NotImplementedError, ValueError, TypeError):
                    for part in parts(found):
                        self._note(part.untyped_storage())

    def _note(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        self._before[key] = weakref.ref(storage, partial(_forget, self._before, key))

    def see(self, tensor: Tensor, origin: Callable[[Tensor], Origin], *, old: bool = False) -> int:
        """The row of a tensor's storage; -1 if it has no bytes.

        One that is unknown counts from the present tick; if it existed before, or is `old`, from
        the first.
        """
        storage = tensor.untyped_storage()
        key = storage._cdata
        known = self._alive.get(key)
        size = int(storage.nbytes())
        if known is not None:
            if known.size != size:
                self._resized(known, size)
            return known.row if size else -1
        old = self._before.pop(key, None) is not None or old
        if size == 0:
            return -1
        kind: Kind = "transient"
        if old:
            kind = "parameters" if isinstance(tensor, torch.nn.Parameter) else "inputs"
        device = tensor.fake_device if isinstance(tensor, FakeTensor) else tensor.device
        tick = 0 if old else self.log.now
        row = self.log.born(size, origin(tensor), device, kind, tick=tick)
        self._follow(storage, key, row, size)
        return row

    def module_of(self, tensor: Tensor) -> int | None:
        """The module where a tensor's storage was born; None if it is unknown."""
        first = next(parts(tensor), None)
        if first is None:
            return None
        known = self._alive.get(first.untyped_storage()._cdata)
        if known is None:
            return None
        return self.log.all_origins.names[self.log.origins[known.row]].module

    def close(self) -> None:
        """Follow nothing any more; what still lives is recorded as alive."""
        self._alive.clear()
        self._before.clear()

    def _follow(self, storage: torch.UntypedStorage, key: int, row: int, size: int) -> None:
        followed = _Followed(storage, self._freed)
        followed.key, followed.row, followed.size = key, row, size
        self._alive[key] = followed

    def _freed(self, followed: Any) -> None:
        if self._alive.get(followed.key) is followed:
            del self._alive[followed.key]
            if followed.size:
                self.log.died(followed.row, tick=self.log.now)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Notice storages resized by no operation, as FSDP frees parameters; each is a tick."""
        own = "resize_" in vars(torch.UntypedStorage)
        plain = torch.UntypedStorage.resize_

        def resize(storage: torch.UntypedStorage, size: int) -> Any:
            out = plain(storage, size)
            known = self._alive.get(storage._cdata)
            if known is not None and known.size != storage.nbytes():
                self.log.begin(self.log.phases[-1])
                self._resized(known, int(storage.nbytes()))
            return out

        setattr(torch.UntypedStorage, "resize_", resize)  # noqa: B010
        try:
            yield
        finally:
            if own:
                setattr(torch.UntypedStorage, "resize_", plain)  # noqa: B010
            else:
                del torch.UntypedStorage.resize_

    def _resized(self, known: _Followed, size: int) -> None:
        """From this tick on a storage is another row; none while it has no bytes."""
        log, row = self.log, known.row
        if known.size:
            log.died(row, tick=log.now - 1)
        known.size = size
        if size:
            origin = log.all_origins.names[log.origins[row]]
            device = log.all_devices.names[log.devices[row]]
            known.row = log.born(size, origin, device, "transient", tick=log.now)
            log.kinds[known.row] = log.kinds[row]


def _forget(before: dict[int, weakref.ref], key: int, gone: weakref.ref) -> None:
    if before.get(key) is gone:
        del before[key]


def parts(tensor: Tensor) -> Iterator[Tensor]:
    """The tensors with a storage of their own that a tensor is made of.

    None for layouts whose bytes cannot be counted (MKL-DNN's).
    """
    if not isinstance(tensor, FakeTensor) and is_traceable_wrapper_subclass(tensor):
        for name in tensor.__tensor_flatten__()[0]:
            part = getattr(tensor, name)
            if isinstance(part, Tensor):  # a DTensor's mesh is none
                yield from parts(part)
    elif tensor.layout == torch.strided:
        yield tensor
    elif tensor.layout == torch.sparse_coo:
        yield tensor._indices()
        yield tensor._values()
    elif tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        yield from (tensor.crow_indices(), tensor.col_indices(), tensor.values())
    elif tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        yield from (tensor.ccol_indices(), tensor.row_indices(), tensor.values())
