"""A tiny model, loss and data stream with the interfaces of the real ones; also a process to kill.

The model has dropout, so a run that is not resumed exactly shows.
"""

import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from sci_memeff.data.example import Example, Skipped
from sci_memeff.errors import BadDataError
from sci_memeff.training.config import OptimizerConfig, RunConfig
from sci_memeff.training.loop import Parts
from sci_memeff.training.presets import Preset
from sci_memeff.training.reports import Silent

LENGTH = 12


def features(seed: int, length: int = LENGTH) -> dict[str, np.ndarray]:
    """Two passes along the last axis; a random walk of Cα, and every atom at its Cα."""
    random = np.random.default_rng(seed)
    walk = np.cumsum(random.normal(size=(length, 3)), axis=0) * 2.0
    positions = np.broadcast_to(walk[:, None], (length, 37, 3)).astype(np.float32)
    mask = np.zeros((length, 37), np.float32)
    mask[:, :3] = 1.0
    one_pass = {
        "aatype": random.integers(0, 20, length),
        "residue_index": np.arange(length),
        "seq_mask": np.ones(length, np.float32),
        "all_atom_positions": positions,
        "all_atom_mask": mask,
    }
    return {name: np.stack([array, array], axis=-1) for name, array in one_pass.items()}


class TinyModel(nn.Module):
    """Residue type and place to 37 positions."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.embedding = nn.Embedding(21, width)
        self.place = nn.Embedding(64, width)
        self.dropout = nn.Dropout(0.3)
        self.out = nn.Linear(width, 37 * 3)
        self.unused = nn.Parameter(torch.ones(3))

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        aatype, index = batch["aatype"][..., -1], batch["residue_index"][..., -1]
        single = self.dropout(self.embedding(aatype) + self.place(index))
        positions = self.out(single).unflatten(-1, (37, 3)) * 10.0
        return {
            "final_atom_positions": positions,
            "final_atom_mask": batch["all_atom_mask"][..., -1],
            "plddt": torch.full(aatype.shape, 50.0),
        }


def loss(outputs, features):
    """Mean squared error over the atoms there are."""
    mask = features["all_atom_mask"]
    error = (outputs["final_atom_positions"] - features["all_atom_positions"]).square().sum(-1)
    value = (error * mask).sum() / mask.sum()
    return value, {"position": value}


class TinyData:
    """Sample k is one of four proteins; each eleventh is unusable, in one of two ways.

    `ballast` bytes come along with each, more than a pipe between processes holds.
    """

    def __init__(self, ballast: int = 0) -> None:
        self.ballast = ballast

    def __getitem__(self, k: int) -> Example | Skipped:
        if k % 11 == 4:
            return Skipped(name="bad_A", reason="no atoms, in fact")
        if k % 11 == 9:
            raise BadDataError("line cut short", source="worse.cif", mend="fetch it again")
        found = features(k % 4)
        if self.ballast:
            found["ballast"] = np.zeros((self.ballast // 8, 2), np.float32)
        return Example(name=f"walk_{k % 4}", features=found)


def settings(**run: int) -> Preset:
    """A short run of batches of two."""
    base = {"steps": 12, "seed": 5, "checkpoint_every": 4, "validate_every": 5}
    return Preset(
        name="tiny",
        optimizer=OptimizerConfig(
            learning_rate=3e-2, warmup_samples=6, batch_size=2, ema_decay=0.9
        ),
        run=RunConfig(**(base | run)),
    )


def parts(data=None) -> Parts:
    """A model of fixed initial weights."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = TinyModel()
    validation = [Example(name=f"walk_{k}", features=features(k)) for k in range(2)]
    return Parts(model, loss, TinyData() if data is None else data, validation)


def without(preset: Preset, **run: int) -> Preset:
    """The preset with other run settings."""
    return replace(preset, run=replace(preset.run, **run))


class _Slow(Silent):
    """Says when a step is done, and takes its time, so that a signal finds the run at work."""

    def stepped(self, report) -> None:
        print(report.step, flush=True)
        time.sleep(0.05)


if __name__ == "__main__":
    from sci_memeff.training.loop import fit

    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    folder, resume, workers = Path(sys.argv[1]), sys.argv[2] == "resume", int(sys.argv[3])
    fitted = fit(
        parts(TinyData(1 << 20)), settings(workers=workers), folder, resume=resume, reporter=_Slow()
    )
    sys.exit(0 if fitted.stopped_by is None else 128 + fitted.stopped_by)
