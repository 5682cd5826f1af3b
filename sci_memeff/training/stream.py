"""The data stream: samples 0, 1, 2, … in order, each a function of its number alone."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any, Protocol, TypeAlias, runtime_checkable

from torch.utils.data import DataLoader, Dataset

from sci_memeff.data.example import Example, Skipped
from sci_memeff.errors import SciMemeffError

__all__ = ["Data", "samples"]

PATIENCE = 1.0  # seconds

Item: TypeAlias = Example | Skipped


@runtime_checkable
class Data(Protocol):
    """`data[k]` is sample k, whenever and wherever it is asked for."""

    def __getitem__(self, k: int, /) -> Item:
        """Sample k, or why it cannot be used."""
        ...


class _Guarded(Dataset[Item]):
    """Turns errors into skipped samples: one bad protein must not end a run of weeks.

    Where no sample is good, the run ends all the same, and says why.
    """

    def __init__(self, data: Data) -> None:
        self.data = data

    def __getitem__(self, k: int) -> Item:
        try:
            return self.data[k]
        except SciMemeffError as error:
            return Skipped(name=getattr(error, "source", f"sample {k}"), reason=error.wrong)
        except Exception as error:
            return Skipped(name=f"sample {k}", reason=f"{type(error).__name__}: {error}")


def samples(data: Data, *, start: int, workers: int) -> Iterator[tuple[int, Item]]:
    """(k, data[k]) for k = start, start + 1, … without end.

    `workers` processes prepare samples ahead (two each); the order and the samples are the same
    for any number. 0 prepares each when it is asked for, in this process.
    """
    loader = DataLoader(
        _Guarded(data),
        sampler=itertools.count(start),  # pyright: ignore[reportArgumentType]
        batch_size=None,
        num_workers=workers,
        collate_fn=_as_it_is,
        worker_init_fn=_begin_worker,
    )
    yield from enumerate(loader, start)


def _as_it_is(item: Any) -> Any:
    return item


def _begin_worker(worker: int) -> None:
    """Leave signals to the parent, and do not outlive it.

    Ctrl-C reaches every process of a terminal, and the parent must finish its step with the
    workers; a forked worker also inherits the parent's SIGTERM handler, under which it could not
    be ended.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    """A killed parent reads no more, and a worker that hands it a sample would wait forever."""
    while os.getppid() == parent:
        time.sleep(PATIENCE)
    os._exit(1)
