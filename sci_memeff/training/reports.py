"""What a run says about itself, as records; and `Reporter`, the one that is told.

The library prints nothing. Whoever calls `fit` supplies a reporter; the command line's draws a
progress bar.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from sci_memeff.training.spikes import Cut

__all__ = ["Beginning", "ProteinScore", "Reporter", "Silent", "SkippedSample", "StepReport"]


@dataclass(frozen=True)
class SkippedSample:
    """A sample that could not be used, and why; the stream went on with the next one."""

    sample: int
    """Its number in the data stream."""
    name: str
    """The protein, e.g. "102m_A"."""
    reason: str


@dataclass(frozen=True)
class StepReport:
    """One update, or one that was skipped because a loss or gradient was not finite."""

    step: int
    """Counted from 1; skipped updates count."""
    next_sample: int
    """Number of the first sample of the data stream that no step has used yet."""
    names: tuple[str, ...]
    """The proteins of the batch."""
    loss: float
    """Mean over the batch."""
    lddt_ca: float
    """Mean lDDT-Cα of the training samples, 0 to 1, with dropout and masked MSA as trained.

    NaN where none has a resolved Cα."""
    terms: Mapping[str, float]
    """Mean of each unweighted loss term."""
    learning_rate: float
    gradient_norm: float
    """Mean over the samples of the global norm, before clipping."""
    updated: bool
    """False where the update was skipped."""
    skipped: tuple[SkippedSample, ...]
    """Samples passed over on the way to this batch."""
    seconds: float
    """Wall clock of this step, waiting for data included."""
    peak_bytes: int
    """See `sci_memeff.measure.peak.peak_bytes`."""
    problem: str = ""
    """What was not finite, and in which protein, where the update was skipped."""
    cut: Cut | None = None
    """What the guard against spikes cut from the gradient of this update; None if nothing."""
    was_reset: bool = False
    """Whether the optimizer's moments began anew before this update."""


@dataclass(frozen=True)
class ProteinScore:
    """One protein, predicted in evaluation mode with the averaged weights."""

    name: str
    residues: int
    loss: float
    lddt_ca: float
    """0 to 1, against the experimental structure."""
    gdt_ts: float
    """0 to 1, of the resolved Cα atoms."""
    tm_score: float
    """0 to 1, of the resolved Cα atoms."""
    rmsd_ca: float
    """Å, after superposition of the resolved Cα atoms."""
    plddt: float
    """The model's own confidence, mean over the residues, 0 to 100."""


@dataclass(frozen=True)
class Beginning:
    """What is about to run."""

    preset: str
    folder: str
    device: str
    parameters: int
    first_step: int
    """0 for a new run, else the number of updates behind the resumed one."""
    steps: int


@runtime_checkable
class Reporter(Protocol):
    """Is told what happens, in order; must not raise."""

    def began(self, beginning: Beginning) -> None:
        """The loop is about to start."""
        ...

    def stepped(self, report: StepReport) -> None:
        """A step was done; skipped samples and updates are in its report."""
        ...

    def validated(self, step: int, scores: Sequence[ProteinScore]) -> None:
        """The averaged weights were scored after `step` updates."""
        ...

    def noted(self, line: str) -> None:
        """Something that a person should read."""
        ...


class Silent:
    """The reporter that keeps everything to itself."""

    def began(self, beginning: Beginning) -> None:
        """Nothing."""

    def stepped(self, report: StepReport) -> None:
        """Nothing."""

    def validated(self, step: int, scores: Sequence[ProteinScore]) -> None:
        """Nothing."""

    def noted(self, line: str) -> None:
        """Nothing."""
