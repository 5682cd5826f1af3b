"""What a run leaves to read: metrics.csv, validation.csv, skipped.csv, memory.csv, TensorBoard.

One row per step, scored protein, skipped sample and want of memory, written as it happens. Floats
are written so that they read back exactly.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sci_memeff.training.folder import Summary
from sci_memeff.training.reports import ProteinScore, StepReport
from sci_memeff.training.scores import known_mean
from sci_memeff.training.tightening import Tightened

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["Records"]

STEP = [
    "step",
    "next_sample",
    "loss",
    "lddt_ca",
    "learning_rate",
    "gradient_norm",
    "updated",
    "skipped",
    "seconds",
    "peak_bytes",
    "cut_values",
    "cut_to",
    "was_reset",
]
CURVES = (
    "loss",
    "lddt_ca",
    "learning_rate",
    "gradient_norm",
    "seconds",
    "peak_bytes",
    "cut_values",
)
SCORE = ["step", "name", "residues", "loss", "lddt_ca", "gdt_ts", "tm_score", "rmsd_ca", "plddt"]
SKIPPED = ["sample", "name", "reason"]
TIGHTENED = ["step", "said", "peak_bytes_before", "peak_bytes_after", "flops_ratio_after"]


class Records:
    """The tables of one run folder, open for appending.

    `step` and `next_sample` say where the run stands: rows from beyond, left by a run that was
    killed after its last checkpoint, are dropped, as those steps are taken again.
    """

    def __init__(self, folder: Path, *, step: int, next_sample: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.metrics = folder / "metrics.csv"
        self.validation = folder / "validation.csv"
        self.skipped = folder / "skipped.csv"
        self.memory = folder / "memory.csv"
        _keep_rows(self.metrics, "step", step)
        _keep_rows(self.validation, "step", step)
        _keep_rows(self.skipped, "sample", next_sample - 1)
        self._board = _tensorboard(folder / "tensorboard", step)

    def step(self, report: StepReport) -> None:
        """One row for a step, and one for each sample that was skipped on its way."""
        terms = sorted(report.terms)
        values: dict[str, Any] = {name: getattr(report, name, 0) for name in STEP}
        values |= {"updated": int(report.updated), "skipped": len(report.skipped)}
        values |= {"was_reset": int(report.was_reset), "cut_to": 1.0}
        if report.cut is not None:
            values |= {"cut_values": report.cut.values, "cut_to": report.cut.ratio}
        row = [values[name] for name in STEP] + [report.terms[name] for name in terms]
        _append(self.metrics, STEP + [f"loss/{name}" for name in terms], [row])
        rows = [[item.sample, item.name, item.reason] for item in report.skipped]
        _append(self.skipped, SKIPPED, rows)
        for name in CURVES:
            self._board.add_scalar(f"train/{name}", values[name], report.step)
        for name in terms:
            self._board.add_scalar(f"train_loss/{name}", report.terms[name], report.step)

    def tightened(self, step: int, change: Tightened) -> None:
        """One row where memory was short on the way to update `step`, and a leaner plan followed.

        Bytes are predicted ones; empty where nothing was.
        """
        found = change.plan.prediction
        after = [None, None] if found is None else [found.peak_bytes, found.flops_ratio]
        _append(self.memory, TIGHTENED, [[step, change.said, change.peak_bytes, *after]])
        if found is not None:
            self._board.add_scalar("train/predicted_peak_bytes", found.peak_bytes, step)

    def scores(self, step: int, scores: Sequence[ProteinScore]) -> None:
        """One row per protein, in place of any of that step, and their means as scalars."""
        _keep_rows(self.validation, "step", step - 1)
        rows = [[step] + [getattr(score, name) for name in SCORE[1:]] for score in scores]
        _append(self.validation, SCORE, rows)
        for name in SCORE[SCORE.index("loss") :]:
            mean = known_mean(getattr(score, name) for score in scores)
            if math.isfinite(mean):
                self._board.add_scalar(f"validation/{name}", mean, step)

    def has_scores(self, step: int) -> bool:
        """Whether the proteins were scored after `step` updates."""
        return any(int(row["step"]) == step for row in _rows(self.validation))

    def skipped_counts(self) -> dict[tuple[str, str], int]:
        """How often each (protein, reason) was skipped, over the whole run."""
        counts: dict[tuple[str, str], int] = {}
        for row in _rows(self.skipped):
            key = (row["name"], row["reason"])
            counts[key] = counts.get(key, 0) + 1
        return counts

    def failures_in_a_row(self) -> int:
        """How many of the last steps made no update."""
        updated = [row["updated"] == "1" for row in _rows(self.metrics)]
        return len(updated) - max((k + 1 for k, good in enumerate(updated) if good), default=0)

    def summary(self, scores: Sequence[ProteinScore]) -> Summary:
        """What the whole run came to, resumed parts included."""
        rows = _rows(self.metrics)
        return Summary(
            lddt_ca=_or_none(known_mean(score.lddt_ca for score in scores)),
            loss=_or_none(known_mean(score.loss for score in scores)),
            seconds=round(sum(float(row["seconds"]) for row in rows), 3),
            steps=len(rows),
            proteins=len(scores),
            skipped_samples=sum(int(row["skipped"]) for row in rows),
            skipped_updates=sum(row["updated"] == "0" for row in rows),
            peak_bytes=max((int(row["peak_bytes"]) for row in rows), default=0),
        )

    def close(self) -> None:
        """Flush the TensorBoard file; the CSV files are complete at any time."""
        self._board.close()


def _or_none(mean: float) -> float | None:
    """JSON has no NaN."""
    return mean if math.isfinite(mean) else None


def _tensorboard(folder: Path, step: int) -> SummaryWriter:
    from torch.utils.tensorboard import SummaryWriter  # a second to import

    return SummaryWriter(str(folder), purge_step=step + 1)


def _append(path: Path, header: list[str], rows: Sequence[Sequence[object]]) -> None:
    if not rows:
        return
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if is_new:
            writer.writerow(header)
        writer.writerows(rows)


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _keep_rows(path: Path, column: str, last: int) -> None:
    """Drop the rows whose `column` is above `last`, and a row that was cut short."""
    if not path.exists():
        return
    with path.open(newline="") as file:
        header, *rows = list(csv.reader(file)) or [[]]
    at = header.index(column) if column in header else None
    kept = [r for r in rows if at is not None and len(r) == len(header) and int(r[at]) <= last]
    partial = path.with_name(f".{path.name}")
    with partial.open("w", newline="") as file:
        csv.writer(file).writerows([header, *kept] if kept else [])
    if kept:
        os.replace(partial, path)
    else:  # the header is written with the first row
        partial.unlink()
        path.unlink()
