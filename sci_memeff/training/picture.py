"""The picture of a run: predicted backbones over experimental ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float

from sci_memeff.alphafold.metrics import superimpose
from sci_memeff.errors import MissingPackageError
from sci_memeff.training.prediction import CA, Prediction
from sci_memeff.training.reports import ProteinScore

__all__ = ["draw"]

EXPERIMENT, PREDICTED = (0.60, 0.63, 0.67), (0.84, 0.22, 0.31)
WIDTHS = {EXPERIMENT: 7.0, PREDICTED: 2.8}
SMOOTH = 8  # pieces of a curve between two residues
IN_FRONT = 2.0  # Å that a prediction is drawn nearer, so as not to hide inside the experiment
HAZE = 0.55  # how far the farthest piece fades into the paper


def draw(path: Path, drawn: Sequence[tuple[Prediction, ProteinScore]]) -> None:
    """Cα traces of each prediction over its experiment, superposed, one panel each; PNG.

    Seen along the protein's shortest axis; what is farther away is paler and lies below. Residues
    that the experiment does not resolve are not drawn.
    Predictions with fewer than three resolved residues to compare are left out.
    MissingPackageError without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.lines import Line2D
    except ImportError as error:
        raise MissingPackageError(
            "a picture needs matplotlib", mend="pip install 'sci-memeff[plot]'"
        ) from error
    known = [(p, score) for p, score in drawn if _num_resolved(p) >= 3]
    figure = Figure(figsize=(4.0 * max(1, len(known)), 4.3), layout="constrained")
    for k, (prediction, score) in enumerate(known):
        axes = figure.add_subplot(1, len(known), k + 1, aspect="equal", adjustable="datalim")
        axes.set_title(f"{score.name}   lDDT-Cα {score.lddt_ca:.2f}", fontsize=12)
        _panel(axes, prediction)
    figure.legend(
        [Line2D([], [], color=colour, linewidth=width) for colour, width in WIDTHS.items()],
        ["experiment", "predicted"],
        loc="outside lower center",
        ncols=2,
        frameon=False,
    )
    figure.savefig(path, dpi=150)


def _num_resolved(prediction: Prediction) -> int:
    mask = prediction.experiment_mask
    return 0 if mask is None else int(mask[:, CA].sum())


def _panel(axes: Any, prediction: Prediction) -> None:
    from matplotlib.collections import LineCollection

    experiment, predicted, resolved = _turned(prediction)
    pieces, colours, widths = [], [], []
    for trace, colour in ((experiment, EXPERIMENT), (predicted, PREDICTED)):
        found = _pieces(trace, resolved)
        pieces.append(found)
        colours += [colour] * len(found)
        widths += [WIDTHS[colour]] * len(found)
    joined = np.concatenate(pieces)
    depth = joined[..., 2].mean(1)
    depth[len(pieces[0]) :] += IN_FRONT
    order = np.argsort(depth)
    haze = HAZE * (depth.max() - depth[order]) / max(float(np.ptp(depth)), 1e-6)
    shown = np.array(colours)[order] * (1 - haze[:, None]) + haze[:, None]
    axes.add_collection(
        LineCollection(
            list(joined[order, :, :2]),
            colors=shown,
            linewidths=np.array(widths)[order],
            capstyle="round",
        )
    )
    axes.autoscale_view()
    axes.margins(0.06)
    axes.set_axis_off()


def _pieces(
    trace: Float[np.ndarray, "n 3"], there: Bool[np.ndarray, " n"]
) -> Float[np.ndarray, "pieces 2 3"]:
    """Short straight pieces of a smooth curve through the residues that are there.

    Catmull–Rom: between residues i and i + 1, the curve heads along their neighbours' chords.
    """
    before, after = np.roll(trace, 1, axis=0), np.roll(trace, -1, axis=0)
    has_before = np.roll(there, 1) & (np.arange(len(trace)) > 0)
    has_after = np.roll(there, -1) & (np.arange(len(trace)) < len(trace) - 1)
    before = np.where(has_before[:, None], before, trace)
    after = np.where(has_after[:, None], after, trace)
    heading = (after - before) / 2
    t = np.linspace(0, 1, SMOOTH + 1)[:, None, None]
    starts = np.flatnonzero(there & has_after)
    p, q = trace[starts], trace[starts + 1]
    u, v = heading[starts], heading[starts + 1]
    curve = (
        (2 * t**3 - 3 * t**2 + 1) * p
        + (t**3 - 2 * t**2 + t) * u
        + (3 * t**2 - 2 * t**3) * q
        + (t**3 - t**2) * v
    )
    return np.stack([curve[:-1], curve[1:]], axis=2).swapaxes(0, 1).reshape(-1, 2, 3)


def _turned(
    prediction: Prediction,
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"], Bool[np.ndarray, " n"]]:
    """Cα positions of experiment and prediction, superposed, widest axis across the page."""
    assert prediction.experiment is not None
    assert prediction.experiment_mask is not None
    resolved = prediction.experiment_mask[:, CA]
    experiment = prediction.experiment[:, CA]
    moved = superimpose(
        torch.tensor(prediction.positions[:, CA]),
        torch.tensor(experiment),
        torch.tensor(resolved.astype(np.float32)),
    ).numpy()
    centre = experiment[resolved].mean(0)
    axes = np.linalg.svd(experiment[resolved] - centre, full_matrices=False)[2]
    axes[2] = np.cross(axes[0], axes[1])  # a turn, not a reflection: helices stay right-handed
    return (experiment - centre) @ axes.T, (moved - centre) @ axes.T, resolved
