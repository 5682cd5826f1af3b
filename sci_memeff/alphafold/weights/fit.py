"""Whether weights are those of a model, and their copying: all of them or none."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from sci_memeff.errors import BadWeightsError

__all__ = ["copy_into"]

_SHOWN = 3  # names of each kind of fault
# Parts of names, OpenFold's and DeepMind's, that only the multimer has.
_MULTIMER = ("linear_ab_", "~_relative_encoding")


def copy_into(model: nn.Module, weights: Mapping[str, Tensor], source: Path) -> None:
    """Copy `weights` into the model's parameters, in their dtype and on their device.

    BadWeightsError, before anything is changed, if a tensor is missing, unexpected, of another
    shape or of whole numbers.
    """
    own = model.state_dict()
    missing = [name for name in own if name not in weights]
    unexpected = [name for name in weights if name not in own]
    misshapen = [
        f"{name} {tuple(weights[name].shape)}, in the model {tuple(tensor.shape)}"
        for name, tensor in own.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    whole = [f"{name} {t.dtype}" for name, t in weights.items() if not t.is_floating_point()]
    faults = {
        "missing": missing,
        "unexpected": unexpected,
        "of another shape": misshapen,
        "not of floating point": whole,
    }
    if any(faults.values()):
        listed = "; ".join(_list(kind, names) for kind, names in faults.items() if names)
        raise BadWeightsError(
            f"{source} does not fit the model: {listed}", mend=_mend(own, weights, unexpected)
        )
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(weights[name])


def _list(kind: str, names: list[str]) -> str:
    noun = "tensor" if len(names) == 1 else "tensors"
    more = f", … and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{len(names)} {noun} {kind} ({', '.join(names[:_SHOWN])}{more})"


def _mend(own: Collection[str], weights: Collection[str], unexpected: list[str]) -> str:
    if any(mark in name for name in unexpected for mark in _MULTIMER):
        return "these are a multimer's weights, another network; give those of a monomer"
    templates, ptm = _sees_templates(weights), _has_ptm(weights)
    if (templates, ptm) == (_sees_templates(own), _has_ptm(own)):
        return (
            "build the model with the ModelConfig that the weights were trained with; a run's is "
            "in its config.yaml"
        )
    name = f"model_{1 if templates else 3}{'_ptm' if ptm else ''}"
    seen = "with templates" if templates else "without templates"
    head = "with the PAE head" if ptm else "without the PAE head"
    return (
        f"these are weights of a network {seen} and {head}: use model_config({name!r}), "
        f"or --model {name}"
    )


def _sees_templates(names: Collection[str]) -> bool:
    return any(name.startswith("template_embedder.") for name in names)


def _has_ptm(names: Collection[str]) -> bool:
    return any(name.startswith("aux_heads.tm.") for name in names)
