"""OpenFold's weights: its released files, and the checkpoints that its training writes.

The names of this network's tensors are OpenFold v2's, so they load as they are. Older files have
the names of the code of their time, and checkpoints hold much besides the weights.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sci_memeff.alphafold.weights.fit import copy_into
from sci_memeff.errors import BadWeightsError

__all__ = ["load_openfold", "save_openfold"]

# Names before OpenFold v2, and what became of them.
_RENAMED = (
    (re.compile(r"^template_angle_embedder\."), "template_single_embedder."),
    (re.compile(r"^template_(?!embedder\.)"), "template_embedder.template_"),
    (re.compile(r"\.core\.(?=msa_transition\.|outer_product_mean\.)"), "."),
    (re.compile(r"\.core\.(?=tri_|pair_transition\.)"), ".pair_stack."),
    (re.compile(r"(?<=\.ipa\.linear_q_points\.)(?=weight$|bias$)"), "linear."),
    (re.compile(r"(?<=\.ipa\.linear_kv_points\.)(?=weight$|bias$)"), "linear."),
)
# What training frameworks put before each name: of the model in its wrapper, of the wrapper.
_PREFIXES = ("module.", "model.")


def load_openfold(model: nn.Module, path: Path) -> None:
    """Load a `.pt` of OpenFold, of version 1 or 2, or a checkpoint of its training.

    Of a checkpoint the averaged weights (EMA) are taken where it has them, as OpenFold does.
    Nothing in the file is executed. BadWeightsError, before anything is changed, for a file that
    is damaged, holds more than data, or does not fit the model.
    """
    tensors = _tensors_in(_read(path), path)
    copy_into(model, {_current(name): tensor for name, tensor in tensors.items()}, path)


def save_openfold(model: nn.Module, path: Path) -> None:
    """Write the weights as OpenFold v2 reads them: `torch.load` gives tensors by name. Atomic."""
    tensors = {name: t.detach().cpu().clone() for name, t in model.state_dict().items()}
    unfinished = Path(f"{path}.unfinished")
    torch.save(tensors, unfinished)
    os.replace(unfinished, path)


def _read(path: Path) -> Any:
    if not Path(path).is_file():
        raise BadWeightsError(
            f"{path}: there is no such file", mend="give the path of OpenFold's weights, a .pt"
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    # A damaged file makes torch.load raise almost anything.
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadWeightsError(
            f"{path} is damaged, or holds Python objects beside tensors: {reason}",
            mend="download it again; of a checkpoint that you trust, save the tensors alone, "
            "in OpenFold's own environment: "
            "torch.save(torch.load(path, weights_only=False)['ema']['params'], 'weights.pt')",
        ) from error


def _tensors_in(content: Any, path: Path) -> dict[str, Tensor]:
    """The one dictionary of tensors in a checkpoint's, by the names inside the model."""
    found = content
    for route in (("ema", "params"), ("state_dict",), ("module",), ("model",)):
        inner = content
        for key in route:
            inner = inner.get(key) if isinstance(inner, Mapping) else None
        if isinstance(inner, Mapping):
            found = inner
            break
    if not isinstance(found, Mapping) or not found:
        raise BadWeightsError(
            f"{path} holds {type(found).__name__} and no tensors by name",
            mend="give a .pt that OpenFold wrote, or one that save_openfold did",
        )
    strange = [k for k, v in found.items() if not (isinstance(k, str) and isinstance(v, Tensor))]
    if strange:
        shown = ", ".join(repr(name) for name in strange[:3])
        raise BadWeightsError(
            f"{path}: {len(strange)} entries are no tensors by name ({shown})",
            mend="give the dictionary of the weights alone",
        )
    return {_bare(name): tensor for name, tensor in found.items()}


def _bare(name: str) -> str:
    while name.startswith(_PREFIXES):
        name = name.partition(".")[2]
    return name


def _current(name: str) -> str:
    for old, new in _RENAMED:
        name = old.sub(new, name)
    return name
