"""What happened while a step was measured: every storage and every operation, as columns.

Time is counted in operations: tick 0 is the moment before the first one. A storage born by
operation t counts from tick t on; one that is freed after operation t, and before the next, counts
at tick t for the last time.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Hashable
from typing import Generic, Literal, NamedTuple, TypeVar, get_args

import torch

__all__ = ["FORWARD", "KINDS", "TICKS", "Kind", "Log", "Numbered", "Origin", "Phase"]

T = TypeVar("T", bound=Hashable)

Kind = Literal["parameters", "gradients", "optimizer", "inputs", "saved", "transient"]
KINDS: tuple[Kind, ...] = get_args(Kind)

Phase = tuple[str, ...]
FORWARD: Phase = ("forward",)

TICKS = 2**32  # a death is one number, row × TICKS + tick: appended whole, whatever thread frees


class Origin(NamedTuple):
    """Where a storage comes from: `what` is an operation, or the name of a parameter."""

    module: int
    what: str
    shape: tuple[int, ...]
    dtype: torch.dtype


class Numbered(Generic[T]):
    """Names and their numbers, in the order of their first appearance."""

    def __init__(self) -> None:
        self.names: list[T] = []
        self._numbers: dict[T, int] = {}

    def number(self, name: T) -> int:
        """The number of a name; a new one if it was not seen before."""
        found = self._numbers.get(name)
        if found is None:
            found = self._numbers[name] = len(self.names)
            self.names.append(name)
        return found


class Log:
    """Columns that only grow, about 40 bytes per storage and 4 per operation."""

    def __init__(self) -> None:
        self.births = array("q")  # one row per storage and size: tick,
        self.sizes = array("q")  # bytes,
        self.origins = array("q")  # number of its origin,
        self.devices = array("b")  # number of its device,
        self.kinds = array("b")  # index into KINDS
        self.deaths = array("q")
        self.phases = array("i")  # one per tick: number of its phase
        self._changes = 0
        self.flops: Counter[tuple[int, int]] = Counter()  # by module and phase
        self.all_origins: Numbered[Origin] = Numbered()
        self.all_devices: Numbered[torch.device] = Numbered()
        self.all_phases: Numbered[Phase] = Numbered()
        self.all_modules: Numbered[str] = Numbered()
        self.all_modules.number("")  # module 0: outside of every module
        self.begin(self.all_phases.number(FORWARD))

    @property
    def now(self) -> int:
        """The present tick."""
        return len(self.phases) - 1

    def begin(self, phase: int) -> None:
        """A new tick."""
        self.phases.append(phase)

    def born(
        self, size: int, origin: Origin, device: torch.device, kind: Kind, *, tick: int
    ) -> int:
        """The row of a new storage."""
        self.births.append(tick)
        self.sizes.append(size)
        self.origins.append(self.all_origins.number(origin))
        self.devices.append(self.all_devices.number(device))
        self.kinds.append(KINDS.index(kind))
        return len(self.births) - 1

    def died(self, row: int, *, tick: int) -> None:
        """The storage of this row counts at `tick` for the last time."""
        self.deaths.append(row * TICKS + tick)

    def is_kind(self, row: int, kind: Kind) -> None:
        """What this row's storage turned out to be."""
        self.kinds[row] = KINDS.index(kind)
        self._changes += 1

    @property
    def version(self) -> tuple[int, ...]:
        """Differs whenever something was added."""
        return len(self.births), len(self.deaths), len(self.phases), self._changes
