"""What a peak is made of: by kind, by phase, by module, by tensor; in bytes and FLOPs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from sci_memeff.measure.history import History
from sci_memeff.measure.log import KINDS, Kind, Log

__all__ = [
    "KindBytes",
    "ModuleBytes",
    "PhaseBytes",
    "TensorGroup",
    "by_kind",
    "by_module",
    "by_phase",
    "by_tensor",
]


@dataclass(frozen=True, kw_only=True)
class KindBytes:
    """One kind of bytes: alive at the whole peak, and at its own highest moment."""

    at_peak: int
    highest: int


@dataclass(frozen=True, kw_only=True)
class PhaseBytes:
    """One phase: the most that was alive in it, what was left when it ended, and its FLOPs."""

    peak: int
    left: int
    flops: int


@dataclass(frozen=True, kw_only=True)
class ModuleBytes:
    """What was born in a module: alive at the whole peak, at its own highest moment; its FLOPs.

    `flops` holds the backward pass and recomputation too, `recomputed` the latter alone.
    """

    at_peak: int
    highest: int
    flops: int
    recomputed: int


@dataclass(frozen=True, kw_only=True)
class TensorGroup:
    """Storages alive at the peak that differ in nothing that is told here; `bytes` of all."""

    kind: Kind
    module: str
    what: str
    shape: tuple[int, ...]
    dtype: str
    count: int
    bytes: int


def by_kind(history: History) -> dict[Kind, KindBytes]:
    """Every kind, in the order of `KINDS`."""
    alive = history.is_alive(history.peak_tick)
    highest = history.peaks_by(history.kinds)
    return {
        kind: KindBytes(
            at_peak=int(history.sizes[alive & (history.kinds == k)].sum()),
            highest=highest.get(k, 0),
        )
        for k, kind in enumerate(KINDS)
    }


def by_phase(history: History) -> dict[str, PhaseBytes]:
    """Every phase and those it is part of, in the order of their first operation."""
    log = history.log
    names = log.all_phases.names
    freed = np.bincount(history.deaths, history.sizes, minlength=history.num_ticks + 1)
    left = history.total - freed[: history.num_ticks].astype(np.int64)
    found: dict[str, PhaseBytes] = {}
    wholes = {names[n][:k] for n in range(len(names)) for k in range(1, len(names[n]) + 1)}
    for whole in sorted(wholes, key=len):
        members = [n for n, name in enumerate(names) if name[: len(whole)] == whole]
        ticks = np.flatnonzero(np.isin(history.phases[1:], members)) + 1
        if len(ticks):
            found["/".join(whole)] = PhaseBytes(
                peak=int(history.total[ticks].max()),
                left=int(left[ticks[-1]]),
                flops=sum(count for (_, phase), count in log.flops.items() if phase in members),
            )
    return dict(sorted(found.items(), key=lambda item: _first(history, item[0])))


def _first(history: History, whole: str) -> tuple[int, int]:
    names = history.log.all_phases.names
    members = [n for n, name in enumerate(names) if "/".join((*name, "")).startswith(whole + "/")]
    return int(np.isin(history.phases[1:], members).argmax()), whole.count("/")


def by_module(history: History, depth: int | None) -> dict[str, ModuleBytes]:
    """Every module with bytes or FLOPs, largest share of the peak first.

    `depth` is how many parts of a module's path are kept: what lies deeper is counted there.
    """
    log = history.log
    short = [_shortened(name, depth) for name in log.all_modules.names]
    names = sorted(set(short))
    number = {name: n for n, name in enumerate(names)}
    rows = history.rows_by(lambda module: number[short[module]])
    alive = history.is_alive(history.peak_tick)
    at_peak = np.bincount(rows[alive], history.sizes[alive], minlength=len(names)).astype(int)
    highest = history.peaks_by(rows)
    flops, recomputed = _flops_by(log, short)
    found = {
        name: ModuleBytes(
            at_peak=int(at_peak[n]),
            highest=highest.get(n, 0),
            flops=flops[name],
            recomputed=recomputed[name],
        )
        for name, n in number.items()
        if n in highest or flops[name]
    }
    return dict(sorted(found.items(), key=lambda item: (-item[1].at_peak, item[0])))


def _shortened(name: str, depth: int | None) -> str:
    return name if depth is None else ".".join(name.split(".")[:depth])


def _flops_by(log: Log, short: list[str]) -> tuple[Counter[str], Counter[str]]:
    flops: Counter[str] = Counter()
    recomputed: Counter[str] = Counter()
    for (module, phase), count in log.flops.items():
        flops[short[module]] += count
        if log.all_phases.names[phase][0] == "recompute":
            recomputed[short[module]] += count
    return flops, recomputed


def by_tensor(history: History) -> list[TensorGroup]:
    """What is alive at the peak, equal ones together, the largest group first."""
    log = history.log
    bytes_: Counter[tuple[int, int]] = Counter()
    counts: Counter[tuple[int, int]] = Counter()
    for row in np.flatnonzero(history.is_alive(history.peak_tick)).tolist():
        key = (int(history.kinds[row]), int(history.origins[row]))
        bytes_[key] += int(history.sizes[row])
        counts[key] += 1
    groups = []
    for (kind, number), size in bytes_.items():
        origin = log.all_origins.names[number]
        groups.append(
            TensorGroup(
                kind=KINDS[kind],
                module=log.all_modules.names[origin.module],
                what=origin.what,
                shape=origin.shape,
                dtype=str(origin.dtype).removeprefix("torch."),
                count=counts[kind, number],
                bytes=size,
            )
        )
    return sorted(groups, key=lambda g: (-g.bytes, g.module, g.what, g.shape, g.kind))
