"""`Front`: the plans to choose from, bytes against time, as a sequence, a table and a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

from sci_memeff._plan import Plan
from sci_memeff.errors import MissingPackageError
from sci_memeff.measure.table import human_bytes, in_columns

__all__ = ["Front"]


class Front(Sequence[Plan]):
    """Plans that no other one betters in both bytes and time, the fastest first.

    `print` shows them as a table, `plot` draws them, and `below` gives the next leaner one.
    """

    def __init__(self, plans: Sequence[Plan]) -> None:
        self._plans = tuple(plans)

    @overload
    def __getitem__(self, index: int) -> Plan: ...
    @overload
    def __getitem__(self, index: slice) -> Front: ...
    def __getitem__(self, index: int | slice) -> Plan | Front:
        if isinstance(index, slice):
            return Front(self._plans[index])
        return self._plans[index]

    def __len__(self) -> int:
        return len(self._plans)

    def __iter__(self) -> Iterator[Plan]:
        return iter(self._plans)

    def below(self, num_bytes: int) -> Plan | None:
        """The fastest plan whose predicted peak is less than that; None where there is none."""
        return next((plan for plan, peak in self._peaks() if peak < num_bytes), None)

    def _peaks(self) -> Iterator[tuple[Plan, int]]:
        for plan in self._plans:
            assert plan.prediction is not None
            yield plan, plan.prediction.peak_bytes

    def __str__(self) -> str:
        rows = []
        for plan in self._plans:
            told = plan.prediction
            assert told is not None
            rows.append(
                (
                    f"{human_bytes(told.peak_bytes)}",
                    f"{told.seconds_ratio:.2f}",
                    f"{told.flops_ratio:.2f}",
                    human_bytes(told.host_bytes) if told.host_bytes else "–",
                    f"{told.peak_phase} {told.peak_module}".strip(),
                )
            )
        return in_columns(("peak", "time", "FLOPs", "on the host", "where the peak is"), rows)

    def plot(self, path: str | Path) -> None:
        """Draw bytes against time; PNG, PDF or SVG by suffix.

        MissingPackageError without matplotlib.
        """
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
        except ImportError as error:
            raise MissingPackageError(
                "drawing the front needs matplotlib", mend="pip install 'sci-memeff[plot]'"
            ) from error
        told = [plan.prediction for plan in self._plans if plan.prediction is not None]
        figure = Figure(figsize=(7, 4.5), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        axes.step(
            [x.peak_bytes / 2**30 for x in told],
            [x.seconds_ratio for x in told],
            where="post",
            marker="o",
        )
        axes.set_xscale("log")
        axes.set_xlabel("predicted peak, GiB")
        axes.set_ylabel("predicted time, plain step = 1")
        if told:
            axes.set_title(f"on {told[0].target}")
        axes.grid(alpha=0.3)
        figure.savefig(path)
