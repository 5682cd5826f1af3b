"""A guard against gradients that are out of all proportion, value by value.

After Huang et al., "SPAM: Spike-Aware Adam with Momentum Reset for Stable LLM Training" (2025): one
such gradient stays in the second moments for thousands of updates, and makes all of those small.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sci_memeff.training.config import SpikeConfig

__all__ = ["Cut", "SpikeGuard", "rewarmed"]

HISTORY = 10  # updates before a second moment tells what is usual
NOTABLE = 0.5  # of its length left: what people are told of


@dataclass(frozen=True)
class Cut:
    """What was cut from the gradients of one update."""

    values: int
    """How many were beyond their bounds."""
    parameters: int
    """In how many parameters."""
    most: str
    """The parameter that lost the longest part."""
    norm_before: float
    norm_after: float

    @property
    def ratio(self) -> float:
        """The norm after over that before."""
        return self.norm_after / self.norm_before if self.norm_before > 0 else 1.0

    @property
    def is_notable(self) -> bool:
        """Whether the gradient is less than half as long as it was."""
        return self.ratio < NOTABLE

    def __str__(self) -> str:
        where = "parameter" if self.parameters == 1 else "parameters"
        return (
            f"gradient spike: {self.values:,} values in {self.parameters} {where} cut, most in "
            f"{self.most}; the norm went from {self.norm_before:.3g} to {self.norm_after:.3g}"
        )


class SpikeGuard:
    """Cuts gradients to a multiple of what their second moments say is usual, and counts."""

    def __init__(self, names: Mapping[nn.Parameter, str], ratio: float, beta2: float) -> None:
        self._names, self._ratio, self._beta2 = names, ratio, beta2
        self._tallies: list[tuple[nn.Parameter, Tensor]] = []

    def cut(self, p: nn.Parameter, gradient: Tensor, second: Tensor, step: Tensor) -> None:
        """Cut a parameter's gradient in place, after `step` updates with this second moment.

        It makes four tensors of the gradient's size for as long as it takes, and waits for
        nothing. A value that never had a gradient has no bound.
        """
        usual = second / (1 - self._beta2**step)
        has_bound = (second > 0) & (step >= HISTORY)
        bound = torch.where(has_bound, (usual * self._ratio).sqrt_(), math.inf)
        count = (gradient.abs() > bound).sum().to(torch.float32)
        before = torch.linalg.vector_norm(gradient)
        gradient.clamp_(-bound, bound)
        after = torch.linalg.vector_norm(gradient)
        self._tallies.append((p, torch.stack([count, before.float(), after.float()])))

    def told(self) -> Cut | None:
        """What was cut since it was asked for, once; None if nothing. It waits for the device."""
        tallies, self._tallies = self._tallies, []
        by_device: dict[torch.device, list[tuple[nn.Parameter, Tensor]]] = {}
        for p, tally in tallies:
            by_device.setdefault(tally.device, []).append((p, tally))
        rows = [
            _Row(self._names[p], *numbers)
            for there in by_device.values()
            for (p, _), numbers in zip(
                there, torch.stack([tally for _, tally in there]).tolist(), strict=True
            )
        ]
        touched = [row for row in rows if row.values > 0]
        if not touched:
            return None
        return Cut(
            values=int(sum(row.values for row in touched)),
            parameters=len(touched),
            most=max(touched, key=lambda row: row.before - row.after).name,
            norm_before=math.hypot(*(row.before for row in rows)),
            norm_after=math.hypot(*(row.after for row in rows)),
        )


class _Row(NamedTuple):
    """Of one parameter's gradient."""

    name: str
    values: float
    before: float
    after: float


def rewarmed(config: SpikeConfig, updates: int) -> float:
    """What the learning rate is multiplied by after so many updates: less than 1 after a reset."""
    if not config.reset_every or updates < config.reset_every:
        return 1.0
    since = updates % config.reset_every
    if since >= config.rewarm:
        return 1.0
    return 0.5 * (1.0 - math.cos(math.pi * (since + 1) / (config.rewarm + 1)))
