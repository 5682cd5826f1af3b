"""The result of a measurement."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from sci_memeff.errors import BadConfigError
from sci_memeff.measure.allocator import AllocatorPeak
from sci_memeff.measure.breakdown import (
    KindBytes,
    ModuleBytes,
    PhaseBytes,
    TensorGroup,
    by_kind,
    by_module,
    by_phase,
    by_tensor,
)
from sci_memeff.measure.history import History
from sci_memeff.measure.live_bytes import Recorder
from sci_memeff.measure.log import KINDS, Kind, Log
from sci_memeff.measure.table import table
from sci_memeff.measure.timeline import draw

__all__ = ["Measured"]

_GIVEN: tuple[Kind, ...] = ("parameters", "inputs")


class Measured:
    """Live bytes and FLOPs of a step. `print` shows them as a table.

    What `measure` yields: it fills while the step runs and may be read at any time. Two are equal
    if every figure of `to_json` is. All bytes are exact: the sizes of the storages, not rounded
    up to an allocator's blocks. Figures are of one `device`; `peaks` has the others'.
    """

    def __init__(self, recorder: Recorder, device: torch.device | None) -> None:
        self._recorder = recorder
        self._asked = device
        self._history: History | None = None
        self._version: tuple[int, ...] = ()
        self.allocator: AllocatorPeak | None = None  # on CUDA, once the step is done

    # while it runs

    def phase(self, name: str) -> AbstractContextManager[None]:
        """`with measured.phase("loss"):` counts what is inside under that name too.

        Phases nest: forward/loss, backward/loss … The four names `forward`, `backward`,
        `recompute` and `optimizer` say instead what the time inside is, for updates that are no
        `torch.optim.Optimizer`. BadConfigError for a name that is empty or has a slash.
        """
        if not name or "/" in name:
            raise BadConfigError(
                f"{name!r} cannot name a phase", mend="use a name without '/', and nest phases"
            )
        return self._recorder.place.phase(name)

    def mark(self, kind: Kind, tensors: Iterable[Tensor]) -> None:
        """Say what kind of bytes these tensors are, where it cannot be known otherwise.

        For states of optimizers that are no `torch.optim.Optimizer`, gradients that
        `torch.autograd.grad` returned, inputs made inside. BadConfigError for an unknown kind.
        """
        if kind not in KINDS:
            raise BadConfigError(f"{kind!r} is no kind of bytes", mend=f"one of {', '.join(KINDS)}")
        self._recorder.mark(kind, tensors, what="marked")

    # figures

    @property
    def device(self) -> torch.device:
        """Whose bytes are told: as asked for, else the model's, else the fullest one's."""
        if self._asked is not None:
            return self._asked
        peaks = self.peaks
        return max(peaks, key=lambda device: peaks[device], default=torch.device("cpu"))

    @property
    def peaks(self) -> dict[torch.device, int]:
        """The peak of each device that had any bytes."""
        log = self._log
        return {device: History(log, device).peak for device in log.all_devices.names}

    @property
    def peak(self) -> int:
        """The most bytes that were alive at any moment."""
        return self._now.peak

    @property
    def peak_over(self) -> int:
        """The most bytes alive beyond parameters and inputs.

        Inputs are what existed before the measurement, output gradients included.
        """
        history = self._now
        given = np.isin(history.kinds, [KINDS.index(kind) for kind in _GIVEN])
        return int(history.bytes_of(~given).max(initial=0))

    @property
    def flops(self) -> int:
        """Everything that was computed, recomputation included."""
        return sum(self._log.flops.values())

    @property
    def recomputed_flops(self) -> int:
        """What was computed again inside a backward pass."""
        phases = self._log.all_phases.names
        counts = self._log.flops.items()
        return sum(count for (_, phase), count in counts if phases[phase][0] == "recompute")

    @property
    def by_kind(self) -> dict[Kind, KindBytes]:
        """Parameters, gradients, optimizer states, inputs, saved activations, all the rest.

        `saved`: made before a backward pass and freed by it. `transient`: everything else, such
        as gradients of activations, and outputs that outlive the backward pass.
        """
        return by_kind(self._now)

    @property
    def by_phase(self) -> dict[str, PhaseBytes]:
        """`forward`, `backward`, `recompute` (inside a backward pass), `optimizer`; nested ones."""
        return by_phase(self._now)

    def by_module(self, depth: int | None = None) -> dict[str, ModuleBytes]:
        """Where bytes were born, by module path; "" is outside of every module.

        What a backward pass makes belongs to the module whose operation it differentiates.
        `depth` cuts paths to so many parts.
        """
        return by_module(self._now, depth)

    def by_tensor(self) -> list[TensorGroup]:
        """What is alive at the peak, the largest first; equal ones are one group."""
        return by_tensor(self._now)

    def over_time(self, by: Literal["kind", "module"] = "kind", depth: int = 1) -> dict[str, Any]:
        """Live bytes after each operation: an integer array for each kind or module found.

        `depth` cuts the paths of modules to so many parts. The first entry is the moment before
        the first operation.
        """
        history = self._now
        if by == "kind":
            groups, names = history.kinds, list(KINDS)
        else:
            names, groups = self._module_rows(depth)
        found = np.unique(groups).tolist()
        return {names[n]: history.bytes_of(groups == n) for n in found}

    # as text and picture

    def plot(self, path: str | Path, *, by: Literal["kind", "module"] = "kind") -> None:
        """Draw live bytes over time, stacked, with the peak marked; PNG, PDF or SVG by suffix.

        MissingPackageError without matplotlib.
        """
        history = self._now
        draw(Path(path), self.over_time(by), history.total, self._spans())

    def to_dict(self) -> dict[str, Any]:
        """Every figure, in plain Python types."""
        return {
            "device": str(self.device),
            "peak": self.peak,
            "peak_over": self.peak_over,
            "peaks": {str(device): peak for device, peak in self.peaks.items()},
            "flops": self.flops,
            "recomputed_flops": self.recomputed_flops,
            "by_kind": {name: asdict(part) for name, part in self.by_kind.items()},
            "by_phase": {name: asdict(part) for name, part in self.by_phase.items()},
            "by_module": {name: asdict(part) for name, part in self.by_module().items()},
            "by_tensor": [{**asdict(g), "shape": list(g.shape)} for g in self.by_tensor()],
            "allocator": None if self.allocator is None else asdict(self.allocator),
        }

    def to_json(self) -> str:
        """Every figure, as a JSON object."""
        return json.dumps(self.to_dict())

    def __str__(self) -> str:
        return table(self)

    def __repr__(self) -> str:
        return f"Measured(peak={self.peak}, peak_over={self.peak_over}, flops={self.flops})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Measured) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    @property
    def _log(self) -> Log:
        return self._recorder.log

    @property
    def _now(self) -> History:
        """The history up to now; computed anew only if something has happened."""
        log = self._log
        if self._history is None or self._version != log.version:
            self._version = log.version
            self._history = History(log, self.device)
        return self._history

    def _module_rows(self, depth: int) -> tuple[list[str], Any]:
        short = [".".join(name.split(".")[:depth]) for name in self._log.all_modules.names]
        names = sorted(set(short))
        return names, self._now.rows_by(lambda module: names.index(short[module]))

    def _spans(self) -> list[tuple[str, int, int]]:
        """Each stretch of one phase: its name, first tick and the tick after its last."""
        names = ["/".join(phase) for phase in self._log.all_phases.names]
        phases = self._now.phases
        edges = [0, *(np.flatnonzero(np.diff(phases)) + 1).tolist(), len(phases)]
        return [(names[int(phases[a])], a, b) for a, b in pairwise(edges)]
