"""What the tests of weights share: files that are written, and loads that are refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sci_memeff.alphafold.model import AlphaFold
from sci_memeff.errors import BadWeightsError

from ..networks import SMALL
from .layout import Arrays

CONFIG = replace(SMALL, num_extra_msa_blocks=3, num_template_blocks=2)


def written(path: Path, arrays: Arrays) -> Path:
    np.savez(path, **arrays)
    return path


def unchanged(model: nn.Module) -> Callable[[], bool]:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    return lambda: all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def refuses(load: Callable, model: nn.Module, path: Path, match: str) -> None:
    same = unchanged(model)
    with pytest.raises(BadWeightsError, match=match):
        load(model, path)
    assert same()


def other_weights() -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {k: torch.randn_like(v) for k, v in AlphaFold(CONFIG).state_dict().items()}


def holds(model: nn.Module, weights: dict[str, Tensor]) -> bool:
    return all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())


def prefixed(prefix: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in weights.items()}


class Trap:
    """Fails when it is unpickled."""

    def __reduce__(self):
        return pytest.fail, ("a file was executed",)
