"""The largest magnitudes of what FP8 layers multiply, over a run: a table and a histogram.

A scale maps a tensor's or a row's largest magnitude ("amax") to FP8's largest number. Beside the
tensor's, the smallest of its rows' is told: what lies between the two is what one scale for the
whole tensor has to span, and a scale for each row has not.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import frexp, inf, log2
from pathlib import Path
from typing import Literal, get_args

from sci_memeff.errors import MissingPackageError
from sci_memeff.measure.table import in_columns

__all__ = ["Kind", "Range", "Ranges"]

Kind = Literal["activation", "weight", "gradient"]

E4M3_SPAN = log2(448 / 2**-9)  # bits, from its largest number to its smallest above zero


@dataclass
class Range:
    """Of one layer's tensors of one kind."""

    calls: int = 0
    smallest: float = inf
    """Of the tensors' largest magnitudes."""
    largest: float = 0.0
    widest: float = 0.0
    """Bits between a tensor's largest magnitude and that of its smallest row that is not zero."""
    tensors: Counter[int] = field(default_factory=Counter)
    """How many tensors had their largest magnitude in [2^k, 2^(k + 1)), by k; not those of zeros"""
    rows: Counter[int] = field(default_factory=Counter)
    """The same of each tensor's smallest row."""

    def add(self, amax: float, row: float) -> None:
        """One more tensor: its largest magnitude, and that of its smallest row."""
        self.calls += 1
        self.smallest, self.largest = min(self.smallest, amax), max(self.largest, amax)
        if amax > 0:
            self.tensors[exponent(amax)] += 1
            self.rows[exponent(row)] += 1
            self.widest = max(self.widest, log2(amax) - log2(row))


def exponent(value: float) -> int:
    """The k of [2^k, 2^(k + 1)) that a number above zero lies in."""
    return frexp(value)[1] - 1


class Ranges:
    """What `watch_ranges` logs, by layer and kind; `print` and `plot` show it."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, Kind], Range] = {}

    def of(self, layer: str, kind: Kind) -> Range:
        """Of one layer's activations, weight, or gradients (those that come to its output)."""
        return self.found.setdefault((layer, kind), Range())

    def together(self, kind: Kind) -> tuple[Counter[int], Counter[int]]:
        """Of all layers: tensors, and tensors' smallest rows, by the exponent of their amax."""
        some = [found for (_, each), found in self.found.items() if each == kind]
        empty: Counter[int] = Counter()
        return sum((x.tensors for x in some), empty), sum((x.rows for x in some), empty)

    def __str__(self) -> str:
        rows = [
            (
                layer,
                kind,
                f"{found.calls}",
                f"{found.smallest:.2e}",
                f"{found.largest:.2e}",
                f"{found.widest:.1f}",
            )
            for (layer, kind), found in sorted(self.found.items())
        ]
        head = ("layer", "of", "tensors", "least amax", "greatest amax", "bits between rows")
        return in_columns(head, rows)

    def plot(self, path: str | Path) -> None:
        """Draw histograms of the largest magnitudes; PNG, PDF or SVG by suffix.

        MissingPackageError without matplotlib.
        """
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
        except ImportError as error:
            raise MissingPackageError(
                "drawing ranges needs matplotlib", mend="pip install 'sci-memeff[plot]'"
            ) from error
        kinds = get_args(Kind)
        figure = Figure(figsize=(7, 6), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(len(kinds), sharex=True)
        for axes, kind in zip(panels, kinds, strict=True):
            tensors, rows = self.together(kind)
            for counts, label in ((tensors, "tensor"), (rows, "smallest row of a tensor")):
                axes.bar(
                    [k + 0.5 for k in counts],
                    list(counts.values()),
                    width=1,
                    alpha=0.5,
                    label=label,
                )
            axes.set_ylabel(f"{kind}s")
            axes.grid(alpha=0.3)
        panels[0].legend(frameon=False)
        panels[0].set_title(f"one scale of e4m3 spans {E4M3_SPAN:.1f} bits")
        panels[-1].set_xlabel("log₂ of the largest magnitude")
        figure.savefig(path)
