"""The run folder: where a run keeps what it is, what it did and what came of it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from sci_memeff.data.files import write_atomically
from sci_memeff.errors import BadConfigError

__all__ = ["RunFolder", "Summary", "make_folder", "next_free"]


@dataclass(frozen=True)
class Summary:
    """What a finished run came to: the content of summary.json."""

    lddt_ca: float | None
    """Mean lDDT-Cα of the scored proteins, averaged weights, evaluation mode; 0 to 1.

    None, as `loss`, where no protein was scored.
    """
    loss: float | None
    """Mean loss of the same predictions."""
    seconds: float
    """Wall clock of the training steps, resumed parts included; scoring is not in it."""
    steps: int
    """Updates, skipped ones included."""
    proteins: int
    """How many proteins were scored."""
    skipped_samples: int
    skipped_updates: int
    peak_bytes: int
    """See `sci_memeff.measure.peak.peak_bytes`."""

    def json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class RunFolder:
    """Names of what is in a run folder; see docs/training.md for the list."""

    path: Path

    @property
    def config(self) -> Path:
        """The settings of the run, complete."""
        return self.path / "config.yaml"

    @property
    def plan(self) -> Path:
        """The memory plan in force, where the run has one."""
        return self.path / "plan.json"

    @property
    def checkpoints(self) -> Path:
        """The newest checkpoints."""
        return self.path / "checkpoints"

    @property
    def structures(self) -> Path:
        """Predicted structures of the scored proteins."""
        return self.path / "structures"

    @property
    def picture(self) -> Path:
        """Predicted over experimental backbones."""
        return self.path / "picture.png"

    @property
    def summary(self) -> Path:
        """The summary, one line of JSON."""
        return self.path / "summary.json"

    def must_be_new(self) -> None:
        """BadConfigError where the folder holds a run already: nothing is overwritten."""
        if self.config.exists() or self.checkpoints.exists():
            raise BadConfigError(
                f"{self.path} holds a run already",
                mend="add --resume to go on with it, or name another folder with --out",
            )

    def save_config(self, text: str) -> None:
        """Write config.yaml, atomically."""
        write_atomically(self.config, text)

    def save_summary(self, summary: Summary) -> None:
        """Write summary.json, atomically."""
        write_atomically(self.summary, summary.json() + "\n")


def make_folder(path: Path, *, mend: str) -> None:
    """Make a folder that will be written to; BadConfigError, with `mend`, where it cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadConfigError(f"{path} cannot be made ({error.strerror})", mend=mend) from error
    if not os.access(path, os.W_OK):
        raise BadConfigError(f"{path} cannot be written to", mend=mend)


def next_free(folder: Path) -> Path:
    """`folder`, or the first of folder-2, folder-3, … that does not exist."""
    free, count = folder, 1
    while free.exists():
        count += 1
        free = folder.with_name(f"{folder.name}-{count}")
    return free
