"""The picture of a run: predicted backbones over experimental ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from sci_memeff.alphafold.metrics import superimpose
from sci_memeff.errors import MissingPackageError
from sci_memeff.training.prediction import CA, Prediction
from sci_memeff.training.reports import ProteinScore

__all__ = ["draw"]

EXPERIMENT, PREDICTED = "#9aa0a6", "#d1495b"


def draw(path: Path, drawn: Sequence[tuple[Prediction, ProteinScore]]) -> None:
    """Cα traces of each prediction over its experiment, superposed, one panel each; PNG.

    Predictions with fewer than three resolved residues to compare are left out.
    MissingPackageError without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingPackageError(
            "a picture needs matplotlib", mend="pip install 'sci-memeff[plot]'"
        ) from error
    known = [(p, score) for p, score in drawn if _num_resolved(p) >= 3]
    figure = Figure(figsize=(4.2 * max(1, len(known)), 4.4), layout="constrained")
    for k, (prediction, score) in enumerate(known):
        axes = figure.add_subplot(1, len(known), k + 1, projection="3d")
        _panel(axes, prediction, f"{score.name}   lDDT-Cα {score.lddt_ca:.2f}")
    figure.legend(
        *figure.axes[0].get_legend_handles_labels() if known else ([], []),
        loc="outside lower center",
        ncols=2,
        frameon=False,
    )
    figure.savefig(path, dpi=150)


def _num_resolved(prediction: Prediction) -> int:
    mask = prediction.experiment_mask
    return 0 if mask is None else int(mask[:, CA].sum())


def _panel(axes: Any, prediction: Prediction, title: str) -> None:
    experiment, predicted, resolved = _turned(prediction)
    for trace, colour, label, width in (
        (np.where(resolved[:, None], experiment, np.nan), EXPERIMENT, "experiment", 4.0),
        (predicted, PREDICTED, "predicted", 1.6),
    ):
        axes.plot(*trace.T, color=colour, linewidth=width, label=label, solid_capstyle="round")
    axes.set_title(title, fontsize=11)
    axes.set_axis_off()
    axes.set_box_aspect(np.ptp(experiment[resolved], axis=0) + 1.0, zoom=1.35)
    axes.view_init(elev=90, azim=-90)


def _turned(
    prediction: Prediction,
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"], np.ndarray]:
    """Cα positions of experiment and prediction, superposed, widest axis across the page."""
    assert prediction.experiment is not None
    assert prediction.experiment_mask is not None
    resolved = prediction.experiment_mask[:, CA]
    experiment = prediction.experiment[:, CA]
    moved = superimpose(
        torch.from_numpy(prediction.positions[:, CA]),
        torch.from_numpy(experiment),
        torch.from_numpy(resolved.astype(np.float32)),
    ).numpy()
    centre = experiment[resolved].mean(0)
    axes = np.linalg.svd(experiment[resolved] - centre, full_matrices=False)[2]
    axes[2] = np.cross(axes[0], axes[1])  # a turn, not a reflection: helices stay right-handed
    return (experiment - centre) @ axes.T, (moved - centre) @ axes.T, resolved
