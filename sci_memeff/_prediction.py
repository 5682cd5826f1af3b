"""What a plan is expected to come to: bytes, FLOPs, seconds, and which choice bought what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Action", "Prediction", "Tier"]

Tier = Literal["exact", "rounding", "lossy"]


@dataclass(frozen=True, kw_only=True)
class Action:
    """One choice of a plan, against leaving it out of that plan.

    `where` is the pattern of its rule, `what` says it in words. "exact" is the plain answer but
    for the order of additions; "rounding" computes or adds up in another dtype; "lossy" is the
    rest.
    """

    where: str
    what: str
    tier: Tier
    saved_bytes: int
    added_flops: int


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a step under a plan comes to on `target`, and what the plain step would.

    `peak_bytes` are live bytes, at their highest in `peak_phase` inside of `peak_module`, and
    what a budget is held against. `reserved_bytes` are those with the allocator's `margin`, a
    fraction of them. `host_bytes` are kept in the host's memory.
    """

    target: str
    budget_bytes: int | None
    peak_bytes: int
    peak_phase: str
    peak_module: str
    margin: float
    reserved_bytes: int
    host_bytes: int
    plain_peak_bytes: int
    flops: int
    plain_flops: int
    step_seconds: float
    plain_seconds: float
    actions: tuple[Action, ...]

    @property
    def flops_ratio(self) -> float:
        """FLOPs against the plain step's; 1 where that has none."""
        return self.flops / self.plain_flops if self.plain_flops else 1.0

    @property
    def seconds_ratio(self) -> float:
        """Predicted time against the plain step's; 1 where that takes none."""
        return self.step_seconds / self.plain_seconds if self.plain_seconds else 1.0
