"""The moments as they are, in the weights' own precision: torch's fused Adam."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

from sci_memeff.training.moments.kept import FIRST, SECOND, STEP, States

__all__ = ["Exact", "adam_step"]


class Exact:
    """Two numbers a weight."""

    def groups(self, parameters: Sequence[nn.Parameter]) -> list[dict[str, Any]]:
        """One of all."""
        return [{"params": list(parameters)}]

    def begun(self, weight: Tensor, group: Mapping[str, Any]) -> States:
        """Zeros; 8 bytes for a weight in float32."""
        return {
            STEP: torch.zeros((), dtype=torch.float32, device=weight.device),
            FIRST: torch.zeros_like(weight),
            SECOND: torch.zeros_like(weight),
        }

    def update(
        self,
        weights: Sequence[Tensor],
        gradients: Sequence[Tensor],
        states: Sequence[States],
        group: Mapping[str, Any],
        refused: Tensor | None,
    ) -> None:
        """Torch's fused Adam, which makes nothing."""
        adam_step(weights, gradients, states, group, refused)

    def second(self, state: States, weight: Tensor) -> Tensor:
        """As it is kept."""
        return state[SECOND]


def adam_step(
    weights: Sequence[Tensor],
    gradients: Sequence[Tensor],
    states: Sequence[States],
    group: Mapping[str, Any],
    refused: Tensor | None = None,
) -> None:
    """Torch's fused Adam, without weight decay, by moments that are kept as they are."""
    beta1, beta2 = group["betas"]
    adam(
        list(weights),
        list(gradients),
        [state[FIRST] for state in states],
        [state[SECOND] for state in states],
        [],
        [state[STEP] for state in states],
        fused=True,
        found_inf=refused,
        amsgrad=False,
        beta1=beta1,
        beta2=beta2,
        lr=group["lr"],
        weight_decay=0.0,
        eps=group["eps"],
        maximize=False,
    )
