"""Live bytes over time, computed from a log: one device, numpy throughout."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Int

from sci_memeff.measure.log import KINDS, TICKS, Log

__all__ = ["History"]

Ticks = Int[np.ndarray, " ticks"]
Rows = Int[np.ndarray, " rows"]


class History:
    """The storages of one device: `births` and `deaths` in ticks, `sizes` in bytes.

    A storage that never died has the number of ticks as its death.
    """

    def __init__(self, log: Log, device: torch.device) -> None:
        self.log = log
        self.num_ticks = len(log.phases)
        deaths = np.full(len(log.births), self.num_ticks, dtype=np.int64)
        died = np.array(log.deaths, dtype=np.int64)
        deaths[died // TICKS] = died % TICKS
        numbers = [n for n, name in enumerate(log.all_devices.names) if name == device]
        here = np.isin(np.array(log.devices), numbers)
        self.births: Rows = np.array(log.births, dtype=np.int64)[here]
        self.deaths: Rows = deaths[here]
        self.sizes: Rows = np.array(log.sizes, dtype=np.int64)[here]
        self.origins: Rows = np.array(log.origins, dtype=np.int64)[here]
        self.phases: Ticks = np.array(log.phases, dtype=np.int64)
        self.kinds: Rows = self._with_saved(np.array(log.kinds, dtype=np.int64)[here])

    def _with_saved(self, kinds: Rows) -> Rows:
        """Transient storages that only a backward pass let go of were saved for it."""
        made = self._ticks_in("forward", "recompute")[self.births]
        died = self.deaths < self.num_ticks
        left = self._ticks_in("backward")[np.minimum(self.deaths, self.num_ticks - 1)]
        saved = (kinds == KINDS.index("transient")) & made & died & left
        return np.where(saved, KINDS.index("saved"), kinds)

    def _ticks_in(self, *parts: str) -> Bool[np.ndarray, " ticks"]:
        is_in = [phase[0] in parts for phase in self.log.all_phases.names]
        return np.array(is_in)[self.phases]

    @cached_property
    def total(self) -> Ticks:
        """Live bytes right after each operation."""
        return self.bytes_of(np.ones(len(self.sizes), dtype=bool))

    @cached_property
    def peak_tick(self) -> int:
        """The first tick with the most live bytes."""
        return int(self.total.argmax())

    @property
    def peak(self) -> int:
        """The most bytes that were ever alive."""
        return int(self.total[self.peak_tick])

    def bytes_of(self, rows: Bool[np.ndarray, " rows"]) -> Ticks:
        """Live bytes of some rows right after each operation."""
        change = np.zeros(self.num_ticks + 2, dtype=np.int64)
        np.add.at(change, self.births[rows], self.sizes[rows])
        np.subtract.at(change, self.deaths[rows] + 1, self.sizes[rows])
        return change.cumsum()[: self.num_ticks]

    def is_alive(self, tick: int) -> Bool[np.ndarray, " rows"]:
        """Which rows count at a tick."""
        return (self.births <= tick) & (tick <= self.deaths)

    def peaks_by(self, groups: Rows) -> dict[int, int]:
        """For each group of rows the most bytes of it that were ever alive."""
        num = len(groups)
        if not num:
            return {}
        group = np.concatenate([groups, groups])
        tick = np.concatenate([self.births, self.deaths + 1])
        change = np.concatenate([self.sizes, -self.sizes])
        order = np.lexsort((np.arange(2 * num) < num, tick, group))  # frees before births
        group, change = group[order], change[order]
        live = change.cumsum()  # every group ends at zero, so one running sum serves all
        starts = np.flatnonzero(np.diff(group, prepend=-1))
        highest = np.maximum.reduceat(live, starts)
        return dict(zip(group[starts].tolist(), highest.tolist(), strict=True))

    def rows_by(self, name: Callable[[int], int]) -> Rows:
        """A number for each row, from the number of its origin's module."""
        modules = [name(origin.module) for origin in self.log.all_origins.names]
        return np.array(modules, dtype=np.int64)[self.origins]
