"""Curves of several seeds, and whether those of one variant end as another's do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sci_memeff.errors import MissingPackageError, VerificationError
from sci_memeff.measure.table import in_columns

__all__ = ["Curve", "Curves", "Verdict"]

SPREAD = 2.0  # standard deviations of the baseline's seeds
SMOOTH = 0.05  # of a curve's steps that a point of the picture is the mean of


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One run."""

    variant: str
    seed: int
    losses: tuple[float, ...]
    """Of each step's samples."""
    lddts: tuple[float, ...]
    final_loss: float
    """Of the averaged weights on the scored proteins."""
    final_lddt: float
    peak_bytes: int


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Where one variant's seeds end, beside the baseline's."""

    variant: str
    loss: float
    lddt: float
    """Means over seeds."""
    loss_away: float
    lddt_away: float
    """Worse than the baseline's mean by so many of its standard deviations; better below 0."""

    @property
    def passed(self) -> bool:
        """Whether neither is worse than the baseline's spread explains."""
        return self.loss_away <= SPREAD and self.lddt_away <= SPREAD


@dataclass(frozen=True, kw_only=True)
class Curves:
    """All runs; `print` shows a table, `plot` draws them, `raise_if_bad` makes a gate of it."""

    curves: tuple[Curve, ...]
    baseline: str

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """One for each variant, the baseline's first, which passes by definition."""
        base = self._of(self.baseline)
        return tuple(_verdict(name, self._of(name), base) for name in self._names)

    @property
    def passed(self) -> bool:
        """Whether every variant does."""
        return all(verdict.passed for verdict in self.verdicts)

    def raise_if_bad(self) -> Curves:
        """Itself; VerificationError where a variant ends worse than the spread explains."""
        bad = [verdict for verdict in self.verdicts if not verdict.passed]
        if not bad:
            return self
        told = "; ".join(f"{one.variant} by {max(one.loss_away, one.lddt_away):.1f}" for one in bad)
        raise VerificationError(
            f"worse than {self.baseline} by more than {SPREAD:g} standard deviations of its seeds: "
            f"{told}",
            mend="train with a wider recipe; or with more seeds, where the spread is uncertain",
        )

    @property
    def _names(self) -> list[str]:
        return list(dict.fromkeys(curve.variant for curve in self.curves))

    def _of(self, name: str) -> list[Curve]:
        return [curve for curve in self.curves if curve.variant == name]

    def __str__(self) -> str:
        rows = [
            (
                one.variant,
                f"{one.loss:.4f}",
                f"{one.loss_away:+.2f}",
                f"{one.lddt:.4f}",
                f"{one.lddt_away:+.2f}",
                "passed" if one.passed else "NOT passed",
            )
            for one in self.verdicts
        ]
        base = self._of(self.baseline)
        lines = [
            f"{len(base)} seeds each; {self.baseline} ends with a loss of "
            f"{_told([curve.final_loss for curve in base])} and an lDDT-Cα of "
            f"{_told([curve.final_lddt for curve in base])}",
            "",
            in_columns(("variant", "loss", "sd worse", "lDDT-Cα", "sd worse", ""), rows),
        ]
        return "\n".join(lines)

    def to_json(self) -> str:
        """The verdicts and what every run ended with, as one line."""
        found: dict[str, Any] = {
            "passed": self.passed,
            "baseline": self.baseline,
            "variants": {
                one.variant: {
                    "passed": one.passed,
                    "loss": one.loss,
                    "loss_sd_worse": one.loss_away,
                    "lddt_ca": one.lddt,
                    "lddt_ca_sd_worse": one.lddt_away,
                    "losses": [curve.final_loss for curve in self._of(one.variant)],
                    "lddts": [curve.final_lddt for curve in self._of(one.variant)],
                }
                for one in self.verdicts
            },
        }
        return json.dumps(found)

    def plot(self, path: str | Path) -> None:
        """Draw loss and lDDT-Cα over steps, each variant's mean, the baseline's spread shaded.

        PNG, PDF or SVG by suffix. MissingPackageError without matplotlib.
        """
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
        except ImportError as error:
            raise MissingPackageError(
                "drawing curves needs matplotlib", mend="pip install 'sci-memeff[plot]'"
            ) from error
        figure = Figure(figsize=(11, 4.5), layout="constrained")
        FigureCanvasAgg(figure)
        for axes, kind, label in zip(
            figure.subplots(1, 2), ("losses", "lddts"), ("loss", "lDDT-Cα"), strict=True
        ):
            for name in self._names:
                self._draw(axes, name, kind)
            axes.set_xlabel("step")
            axes.set_ylabel(f"training {label}")
            axes.grid(alpha=0.3)
        figure.axes[0].set_yscale("symlog", linthresh=1.0)  # a run that diverged has no logarithm
        figure.axes[1].legend(fontsize="small")
        figure.savefig(path)

    def _draw(self, axes: Any, name: str, kind: str) -> None:
        rows = np.stack([_smoothed(getattr(curve, kind)) for curve in self._of(name)])
        mean = rows.mean(0)
        steps = np.arange(1, len(mean) + 1)
        axes.plot(steps, mean, label=name, linewidth=2.0 if name == self.baseline else 1.0)
        if name == self.baseline:
            away = SPREAD * rows.std(0, ddof=1)
            label = f"{name} ± {SPREAD:g} sd"
            axes.fill_between(steps, mean - away, mean + away, alpha=0.2, label=label)


def _verdict(name: str, own: Sequence[Curve], base: Sequence[Curve]) -> Verdict:
    loss, loss_away = _away([c.final_loss for c in own], [c.final_loss for c in base])
    lddt, lddt_away = _away([c.final_lddt for c in own], [c.final_lddt for c in base])
    return Verdict(variant=name, loss=loss, lddt=lddt, loss_away=loss_away, lddt_away=-lddt_away)


def _away(own: Sequence[float], base: Sequence[float]) -> tuple[float, float]:
    """The mean, and how many standard deviations of the baseline it lies above the baseline's."""
    mean, middle = float(np.mean(own)), float(np.mean(base))
    if mean == middle:
        return mean, 0.0
    return mean, (mean - middle) / (float(np.std(base, ddof=1)) or abs(middle) * 1e-6)


def _told(values: Sequence[float]) -> str:
    return f"{np.mean(values):.4f} ± {np.std(values, ddof=1):.4f}"


def _smoothed(values: Sequence[float]) -> np.ndarray:
    """Means over so many steps before each."""
    width = max(1, round(SMOOTH * len(values)))
    sums = np.cumsum(np.concatenate([np.zeros(1), values]))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - width, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)
