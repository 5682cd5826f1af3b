"""`fit`: the loop that trains, scores, records and saves, and can be stopped at any moment."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

import torch
from torch import nn

from sci_memeff._plan import Plan
from sci_memeff.data.example import Example
from sci_memeff.errors import BadConfigError, DivergedError, MissingPackageError
from sci_memeff.measure.peak import reset_peak
from sci_memeff.training import checkpoint
from sci_memeff.training.folder import RunFolder, Summary, make_folder
from sci_memeff.training.picture import draw
from sci_memeff.training.prediction import Prediction
from sci_memeff.training.presets import Preset
from sci_memeff.training.records import Records
from sci_memeff.training.reports import Beginning, ProteinScore, Reporter, Silent, StepReport
from sci_memeff.training.settings import check_same, plain, to_yaml
from sci_memeff.training.setup import ModelAndLoss
from sci_memeff.training.signals import Stop, stop_signals
from sci_memeff.training.step import Loss, Trainer
from sci_memeff.training.stream import Data, samples
from sci_memeff.training.structures import write_structures
from sci_memeff.training.tightening import PlanInForce, Tightened
from sci_memeff.training.validation import evaluate

__all__ = ["Fitted", "Parts", "fit"]

MAX_NONFINITE_IN_A_ROW = 10
PANELS = 4  # proteins in the picture


@dataclass(frozen=True)
class Parts:
    """What is trained, on what, by what."""

    model: nn.Module
    loss: Loss
    data: Data
    """Training samples by number."""
    validation: Sequence[Example]
    """Proteins that are scored, in evaluation mode."""
    fingerprint: str = ""
    """Tells this data from other data; a run is not resumed on data of another."""
    plan: Plan | None = None
    """For `ModelAndLoss(model, loss)`. Without one, a resumed run has the one that it saved, and a
    new one leaves the seams as they stand."""
    front: Callable[[], Sequence[Plan]] | None = None
    """Plans to go on with where memory is short, the leanest last; else those that `plan` knows."""


@dataclass(frozen=True)
class Fitted:
    """How a run ended."""

    trainer: Trainer
    scores: tuple[ProteinScore, ...]
    summary: Summary | None
    """None where a signal stopped the run before its last step."""
    stopped_by: signal.Signals | None = None
    skipped: dict[tuple[str, str], int] | None = None
    """How often each (protein, reason) was skipped."""


def fit(
    parts: Parts,
    settings: Preset,
    folder: Path,
    *,
    device: torch.device | str = "cpu",
    resume: bool = False,
    reporter: Reporter | None = None,
) -> Fitted:
    """Train `parts` for `settings.run.steps` updates, and leave all there is to know in `folder`.

    With `resume`, go on from the newest whole checkpoint in `folder` (from the start where there
    is none), with the very losses that an uninterrupted run has. SIGTERM or SIGINT between two
    samples saves and returns. Where memory is short, the sample is taken again under the next
    leaner plan of the front, with the same random numbers.

    Errors: BadConfigError where `folder` holds a run and `resume` is not set, cannot be written to,
    or is beyond `settings.run.steps`; BadCheckpointError where its checkpoint is of other settings,
    or none is whole; DivergedError after ten updates in a row that were not finite; BadPlanError
    where a plan does not fit the model; NoLeanerPlanError where memory is short under the leanest.
    """
    return _Run(parts, settings, RunFolder(folder), torch.device(device), reporter).go(resume)


class _Run:
    """One call of `fit`: what its methods share."""

    def __init__(
        self,
        parts: Parts,
        settings: Preset,
        folder: RunFolder,
        device: torch.device,
        reporter: Reporter | None,
    ) -> None:
        self.parts = parts
        self.settings = settings
        self.folder = folder
        self.recorded = plain(settings) | {"proteins": parts.fingerprint}
        self.reporter = reporter or Silent()
        self.trainer = Trainer(
            parts.model,
            parts.loss,
            settings.optimizer,
            seed=settings.run.seed,
            device=device,
            memory=PlanInForce(
                ModelAndLoss(parts.model, parts.loss),
                parts.plan,
                parts.front or (parts.plan.front if parts.plan else None),
                self._tightened,
            ),
        )

    def go(self, resume: bool) -> Fitted:
        self._open(resume)
        self._put_plan(resume)
        trainer = self.trainer
        self.records = Records(self.folder.path, step=trainer.step, next_sample=trainer.next_sample)
        self.reporter.began(self._beginning())
        reset_peak(trainer.device)
        try:
            with stop_signals() as stop:
                self._train(stop)
            if trainer.step < self.settings.run.steps:
                return self._stopped(stop)
            return self._finished()
        finally:
            self.records.close()

    def _open(self, resume: bool) -> None:
        """Write config.yaml, or restore the newest checkpoint."""
        if not resume:
            self.folder.must_be_new()
        else:
            found = checkpoint.newest_good(self.folder.checkpoints, self.reporter.noted)
            if found is not None:
                check_same(found.settings, self.recorded, source=str(found.path))
                self._must_not_be_beyond(found.step)
                checkpoint.restore(found, self.trainer)
                self.reporter.noted(f"resumed from {found.path}")
                self.folder.save_config(to_yaml(self.settings))
                return
            self.reporter.noted(f"no checkpoint in {self.folder.path}: starting at step 0")
        make_folder(self.folder.path, mend="name a folder that can be written with --out")
        self._save()  # the first weights, so that a resumed run has them whatever they came from
        self.folder.save_config(to_yaml(self.settings))

    def _put_plan(self, resume: bool) -> None:
        """A resumed run goes on with the plan that it had last, unless it was given another."""
        memory, saved = self.trainer.memory, self.folder.plan
        if memory.plan is None and resume and saved.exists():
            memory.put(Plan.load(saved))
            self.reporter.noted(f"going on with the plan in {saved}")
        if memory.plan is not None:
            memory.plan.save(saved)

    def _tightened(self, change: Tightened) -> None:
        step = self.trainer.step + 1
        self.reporter.noted(f"step {step}: {change}")
        self.records.tightened(step, change)
        change.plan.save(self.folder.plan)

    def _must_not_be_beyond(self, step: int) -> None:
        if step > self.settings.run.steps:
            raise BadConfigError(
                f"{self.folder.path} has made {step} updates, more than the "
                f"{self.settings.run.steps} asked for",
                mend="leave out --steps, or ask for more",
            )

    def _train(self, stop: Stop) -> None:
        run, trainer = self.settings.run, self.trainer
        if not self.records.has_scores(trainer.step):  # of a run killed while it scored
            self._score_if_due()
        stream = samples(self.parts.data, start=trainer.next_sample, workers=run.workers)
        failures = self.records.failures_in_a_row()
        while trainer.step < run.steps:
            report = trainer.advance(stream, stop)
            if report is None:
                return
            self.records.step(report)
            self.reporter.stepped(report)
            if report.was_reset:
                self.reporter.noted(f"step {report.step}: the optimizer's moments began anew")
            if report.cut is not None and report.cut.is_notable:
                self.reporter.noted(f"step {report.step}: {report.cut}")
            failures = 0 if report.updated else failures + 1
            if failures >= MAX_NONFINITE_IN_A_ROW:
                self._diverged(report)
            if trainer.step == run.steps or trainer.step % run.checkpoint_every == 0:
                self._save()
            self._score_if_due()

    def _score_if_due(self) -> None:
        run, step = self.settings.run, self.trainer.step
        if 0 < step < run.steps and run.validate_every and step % run.validate_every == 0:
            self._report_scores([score for score, _ in self._evaluated()])

    def _stopped(self, stop: Stop) -> Fitted:
        path = self._save()
        name = stop.signal.name if stop.signal else "request"
        self.reporter.noted(
            f"stopped by {name} after step {self.trainer.step}; saved {path}; go on with --resume"
        )
        return Fitted(self.trainer, (), None, stop.signal, self.records.skipped_counts())

    def _finished(self) -> Fitted:
        """Score, write the predicted structures, the picture and the summary."""
        scores, drawn = [], []
        for score, predicted in self._evaluated():
            write_structures(self.folder.structures, predicted)
            scores.append(score)
            drawn = [*drawn, (predicted, score)][:PANELS]
        self._report_scores(scores)
        try:
            if drawn:
                draw(self.folder.picture, drawn)
        except MissingPackageError as error:
            self.reporter.noted(str(error))
        summary = self.records.summary(scores)
        self.folder.save_summary(summary)
        skipped = self.records.skipped_counts()
        return Fitted(self.trainer, tuple(scores), summary, None, skipped)

    def _evaluated(self) -> Iterator[tuple[ProteinScore, Prediction]]:
        trainer = self.trainer
        for example in self.parts.validation:
            with trainer.optimizer.averaged():
                attempt = partial(evaluate, trainer.model, trainer.loss, example, trainer.device)
                found = trainer.memory.run(attempt)
            yield found

    def _report_scores(self, scores: Sequence[ProteinScore]) -> None:
        self.records.scores(self.trainer.step, scores)
        self.reporter.validated(self.trainer.step, scores)

    def _save(self) -> Path:
        run = self.settings.run
        return checkpoint.write(
            self.folder.checkpoints,
            self.trainer,
            self.recorded,
            keep=run.keep_checkpoints,
        )

    def _diverged(self, report: StepReport) -> NoReturn:
        raise DivergedError(
            f"{MAX_NONFINITE_IN_A_ROW} updates in a row were not finite, the last at step "
            f"{report.step}: {report.problem}",
            mend="start a new run with a lower optimizer.learning_rate or a longer "
            f"optimizer.warmup_samples, from --weights {self.folder.path} if the weights "
            "there are good; where one protein is named each time, look at its structure",
        )

    def _beginning(self) -> Beginning:
        return Beginning(
            preset=self.settings.name,
            folder=str(self.folder.path),
            device=str(self.trainer.device),
            parameters=sum(p.numel() for p in self.parts.model.parameters()),
            first_step=self.trainer.step,
            steps=self.settings.run.steps,
        )
