"""What a person sees of a run: a live bar on a terminal, plain lines anywhere else."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from sci_memeff.training.reports import Beginning, ProteinScore, StepReport
from sci_memeff.training.scores import known_mean

__all__ = ["Printed", "readable_bytes", "score_table", "skipped_table", "work_bar"]

LINES = 50  # plain lines of a whole run
SMOOTHING = 0.9


def readable_bytes(count: int) -> str:
    """1610612736 → "1.50 GiB"."""
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size:
            return f"{count / size:.2f} {unit}"
    return f"{count} B"


class Printed:
    """The command line's reporter. Use it as a context: a live bar must be taken down."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.every = 1
        self.last = 0
        self.lddt_ca = math.nan
        columns = (
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(bar_width=24),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
        )
        self.bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self.task = self.bar.add_task("starting", total=None)

    def __enter__(self) -> Printed:
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def began(self, beginning: Beginning) -> None:
        """The first line, and the bar's length."""
        self.every = max(1, (beginning.steps - beginning.first_step) // LINES)
        self.last = beginning.steps
        self._line(
            f"training {beginning.preset}: {beginning.parameters:,} parameters on "
            f"{beginning.device}, steps {beginning.first_step + 1} to {beginning.steps}, "
            f"in {beginning.folder}"
        )
        self.bar.update(self.task, total=beginning.steps, completed=beginning.first_step)

    def stepped(self, report: StepReport) -> None:
        """Move the bar, or print a line now and then; name what was skipped."""
        for item in report.skipped:
            self.noted(f"skipped sample {item.sample}, {item.name}: {item.reason}")
        if not report.updated:
            self.noted(f"step {report.step} made no update: {report.problem}")
        if not math.isfinite(self.lddt_ca):
            self.lddt_ca = report.lddt_ca
        elif math.isfinite(report.lddt_ca):
            self.lddt_ca = SMOOTHING * self.lddt_ca + (1 - SMOOTHING) * report.lddt_ca
        text = (
            f"loss {report.loss:8.3f}  lDDT-Cα {self.lddt_ca:.3f}  "
            f"{report.seconds:.2f} s/step  peak {readable_bytes(report.peak_bytes)}"
        )
        self.bar.update(self.task, completed=report.step, description=text)
        is_due = report.step % self.every == 0 or report.step == self.last
        if not self.console.is_terminal and is_due:
            self._line(f"step {report.step:6d}/{self.last}  {text}")

    def validated(self, step: int, scores: Sequence[ProteinScore]) -> None:
        """One line with the means."""
        if scores:
            lddt = known_mean(score.lddt_ca for score in scores)
            loss = known_mean(score.loss for score in scores)
            self._line(
                f"after step {step}, averaged weights on {len(scores)} proteins: "
                f"lDDT-Cα {lddt:.3f}, loss {loss:.3f}"
            )

    def noted(self, line: str) -> None:
        """Print the line."""
        self._line(line)

    def _line(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


def score_table(scores: Sequence[ProteinScore]) -> Table:
    """One row per protein."""
    table = Table(title="Predictions in evaluation mode, averaged weights")
    table.add_column("protein")
    for name in ("residues", "lDDT-Cα", "GDT-TS", "TM-score", "RMSD, Å", "pLDDT", "loss"):
        table.add_column(name, justify="right")
    for score in scores:
        table.add_row(
            escape(score.name),
            str(score.residues),
            f"{score.lddt_ca:.3f}",
            f"{score.gdt_ts:.3f}",
            f"{score.tm_score:.3f}",
            f"{score.rmsd_ca:.2f}",
            f"{score.plddt:.1f}",
            f"{score.loss:.3f}",
        )
    return table


def skipped_table(skipped: dict[tuple[str, str], int]) -> Table:
    """One row per protein and reason."""
    table = Table(title="Samples that were skipped")
    table.add_column("protein")
    table.add_column("times", justify="right")
    table.add_column("why")
    for (name, reason), count in sorted(skipped.items()):
        table.add_row(escape(name), str(count), escape(reason))
    return table


@contextmanager
def work_bar() -> Iterator[Any]:
    """A bar on the terminal's error stream, gone when all is done; nothing where there is none."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("planning", total=None)

        def tell(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        yield tell
