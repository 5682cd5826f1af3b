"""Published weights, into the network and out of it: OpenFold's `.pt`, DeepMind's `.npz`."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from sci_memeff.alphafold.weights.deepmind import load_deepmind
from sci_memeff.alphafold.weights.fit import copy_into
from sci_memeff.alphafold.weights.openfold import load_openfold, save_openfold
from sci_memeff.errors import BadWeightsError

__all__ = ["copy_into", "load_deepmind", "load_openfold", "load_weights", "save_openfold"]

_LOADERS = {
    ".npz": load_deepmind,
    ".pt": load_openfold,
    ".pth": load_openfold,
    ".ckpt": load_openfold,
}


def load_weights(model: nn.Module, path: Path) -> None:
    """Load a file of weights, OpenFold's or DeepMind's by its ending.

    BadWeightsError, before anything is changed, for a file that is damaged, of another kind, or of
    another network; it lists what is missing, unexpected or of another shape.
    """
    loader = _LOADERS.get(Path(path).suffix)
    if loader is None:
        raise BadWeightsError(
            f"{path}: weights are told by their ending, and {Path(path).suffix!r} is none of "
            f"{', '.join(_LOADERS)}",
            mend="give DeepMind's params_model_*.npz, or OpenFold's weights as a .pt",
        )
    loader(model, path)
