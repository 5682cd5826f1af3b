"""GaLore: moments of gradients that are projected onto a few directions, by `galore-torch`.

Zhao et al., "GaLore: Memory-Efficient LLM Training by Gradient Low-Rank Projection" (2024): of the
gradient of a matrix (m, n), m ≥ n, Adam sees (m, r), on the r directions in which a gradient of
some time ago was largest; its step is projected back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils.weak import WeakTensorKeyDictionary

from sci_memeff.errors import MissingPackageError
from sci_memeff.training.config import GaLoreConfig
from sci_memeff.training.moments.exact import Exact, adam_step
from sci_memeff.training.moments.kept import STEP, States

__all__ = ["Projected"]

DIRECTIONS = "directions"
WORTH_IT = 2  # times the rank: matrices with a narrower side are not projected


class Projected:
    """Moments of rank r for matrices whose sides are at least 2 r; of all else, as they are.

    With `rank` in its group, a matrix (m, n) has (r, n) or (m, r) moments, on its longer side, and
    (m, r) or (r, n) directions, which are found anew every `update_proj_gap` updates, by a singular
    value decomposition of the gradient of that time.
    """

    def __init__(self, config: GaLoreConfig) -> None:
        self.config = config
        with _disable_current_modes(), torch.device("cpu"):
            self._projector = _galore().GaLoreProjector
        self._exact = Exact()
        self._counts = WeakTensorKeyDictionary()  # by `step`

    def groups(self, parameters: Sequence[nn.Parameter]) -> list[dict[str, Any]]:
        """Two: the large matrices, with their rank, and the others."""
        least = WORTH_IT * self.config.rank
        large = [p for p in parameters if p.ndim == 2 and min(p.shape) >= least]
        projected = {id(p) for p in large}
        small = [p for p in parameters if id(p) not in projected]
        how = {
            "rank": self.config.rank,
            "update_proj_gap": self.config.every,
            "scale": self.config.scale,
            "proj_type": "std",
        }
        return [g for g in ({"params": large, **how}, {"params": small}) if g["params"]]

    def begun(self, weight: Tensor, group: Mapping[str, Any]) -> States:
        """Zeros; directions are found at the first update."""
        if "rank" not in group:
            return self._exact.begun(weight, group)
        (m, n), r = weight.shape, group["rank"]
        moments, directions = ((m, r), (r, n)) if m >= n else ((r, n), (m, r))
        found = self._exact.begun(weight.new_zeros(moments), group)
        return found | {DIRECTIONS: weight.new_zeros(directions)}

    def update(
        self,
        weights: Sequence[Tensor],
        gradients: Sequence[Tensor],
        states: Sequence[States],
        group: Mapping[str, Any],
        refused: Tensor | None,
    ) -> None:
        """Adam's step where the gradients are projected to."""
        if "rank" not in group:
            adam_step(weights, gradients, states, group, refused)
            return
        for weight, gradient, state in zip(weights, gradients, states, strict=True):
            projector = self._at_work(state, group)
            projected = projector.project(gradient, self._count(state)).contiguous()
            if projector.ortho_matrix is not state[DIRECTIONS]:
                state[DIRECTIONS].copy_(projector.ortho_matrix)  # else they are a view of more
                projector.ortho_matrix = state[DIRECTIONS]
            change = torch.zeros_like(projected)
            adam_step([change], [projected], [state], group)
            weight.add_(projector.project_back(change))

    def second(self, state: States, weight: Tensor) -> Tensor:
        """There is none of the gradient itself."""
        raise NotImplementedError

    def _at_work(self, state: States, group: Mapping[str, Any]) -> Any:
        names = ("update_proj_gap", "scale", "proj_type")
        projector = self._projector(group["rank"], **{name: group[name] for name in names})
        projector.ortho_matrix = state[DIRECTIONS]
        return projector

    def _count(self, state: States) -> int:
        """How many updates there were; asked of the device once, after states were loaded."""
        step = state[STEP]
        if step not in self._counts:
            self._counts[step] = 0 if step._version == 0 else int(step)
        found = self._counts[step]
        self._counts[step] = found + 1
        return found


def _galore() -> Any:
    try:
        from galore_torch import galore_projector
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"GaLore needs galore-torch, which is not installed ({error})",
            mend="install it with `pip install 'sci-memeff[precision]'`, or set optimizer.kind to "
            "adam",
        ) from error
    return galore_projector
