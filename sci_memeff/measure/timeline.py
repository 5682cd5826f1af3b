"""The picture of a measurement: live bytes over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from sci_memeff.errors import MissingPackageError
from sci_memeff.measure.table import human_bytes

__all__ = ["draw"]

NUM_COLUMNS = 1500  # more operations than this share a column; the fullest one of each is drawn
NUM_LAYERS = 9  # the largest have a colour of their own
COLOURS = {
    "parameters": "#4c5b73",
    "gradients": "#c98b2b",
    "optimizer": "#8a6fb0",
    "inputs": "#9aa5b1",
    "saved": "#d1495b",
    "transient": "#4f9d8f",
}
SHADES = {"backward": "#00000010", "recompute": "#00000022", "optimizer": "#00000008"}

Ticks = Int[np.ndarray, " ticks"]


def draw(
    path: Path,
    layers: Mapping[str, Ticks],
    total: Ticks,
    spans: Sequence[tuple[str, int, int]],
) -> None:
    """Layers stacked over operations, phases shaded, the peak marked.

    MissingPackageError without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingPackageError(
            "a timeline needs matplotlib", mend="pip install 'sci-memeff[plot]'"
        ) from error
    figure = Figure(figsize=(11, 4.8), layout="constrained")
    axes = figure.add_subplot()
    scale, unit = _unit(int(total.max()))
    ticks = _columns(total)
    shown = _largest(layers)
    if shown:
        axes.stackplot(
            ticks,
            *[layer[ticks] / scale for layer in shown.values()],
            labels=list(shown),
            colors=[COLOURS[name] for name in shown] if set(shown) <= set(COLOURS) else None,
            linewidth=0,
        )
        figure.legend(loc="outside right upper", frameon=False, reverse=True)
    _mark_phases(axes, spans, len(total))
    _mark_peak(axes, total, scale)
    axes.set_xlim(0, max(1, len(total) - 1))
    axes.set_ylim(0, 1.12 * int(total.max()) / scale or 1)
    axes.set_xlabel("operations")
    axes.set_ylabel(f"live {unit}")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def _unit(most: int) -> tuple[float, str]:
    number, unit = human_bytes(most).split()
    return (most / float(number) if most else 1.0), unit


def _columns(total: Ticks) -> Int[np.ndarray, " columns"]:
    """The fullest tick of each column, and the last one."""
    edges = np.linspace(0, len(total), min(len(total), NUM_COLUMNS) + 1).astype(int)
    found = [int(a) + int(total[a:b].argmax()) for a, b in pairwise(edges)]
    return np.unique([0, *found, len(total) - 1])


def _largest(layers: Mapping[str, Ticks]) -> dict[str, Ticks]:
    """Those with a colour of their own, and the sum of the others; empty ones left out."""
    full = {name or "(outside)": layer for name, layer in layers.items() if layer.any()}
    if len(full) <= NUM_LAYERS:
        return full
    ranked = sorted(full, key=lambda name: -int(full[name].max()))
    kept = {name: full[name] for name in full if name in ranked[: NUM_LAYERS - 1]}
    others = [full[name] for name in ranked[NUM_LAYERS - 1 :]]
    return {**kept, f"{len(others)} others": np.sum(others, axis=0)}


def _mark_phases(axes: Any, spans: Sequence[tuple[str, int, int]], num_ticks: int) -> None:
    """Shades, and a name over every stretch that is wide enough to bear one."""
    for name, start, end in spans:
        shade = SHADES.get(name.partition("/")[0])
        if shade:
            axes.axvspan(start, end, color=shade, linewidth=0)
    for name, start, end in _stretches(spans):
        if end - start > 0.07 * num_ticks:
            axes.annotate(
                name,
                ((start + end) / 2, 1.0),
                xycoords=("data", "axes fraction"),
                ha="center",
                va="bottom",
                fontsize=9,
            )


def _stretches(spans: Sequence[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    """Spans under their names; recomputation is part of the backward pass around it."""
    found: list[tuple[str, int, int]] = []
    for name, start, end in spans:
        whole = name.replace("recompute", "backward", 1) if name.startswith("recompute") else name
        if found and found[-1][0] == whole:
            start = found.pop()[1]
        found.append((whole, start, end))
    return found


def _mark_peak(axes: Any, total: Ticks, scale: float) -> None:
    tick = int(total.argmax())
    most = int(total[tick])
    late = tick > len(total) / 2
    axes.plot([tick], [most / scale], "v", color="black", markersize=6, clip_on=False)
    axes.annotate(
        f"peak {human_bytes(most)}",
        (tick, most / scale),
        xytext=(-8 if late else 8, 4),
        textcoords="offset points",
        ha="right" if late else "left",
        fontsize=10,
    )
