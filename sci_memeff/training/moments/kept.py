"""What every form of Adam's moments can do, and the names of what is kept of a parameter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

__all__ = ["FIRST", "SECOND", "STEP", "Moments", "States"]

STEP, FIRST, SECOND = "step", "exp_avg", "exp_avg_sq"

States = dict[str, Tensor]


@runtime_checkable
class Moments(Protocol):
    """How the two moments of a gradient are kept, and a weight is updated by them.

    All states are plain tensors, so that they are saved, counted and moved as such. `step` is a
    number, of updates since they began; whatever has the parameter's shape has its strides too.
    """

    def groups(self, parameters: Sequence[nn.Parameter]) -> list[dict[str, Any]]:
        """Torch's parameter groups of these, with what is peculiar to each."""
        ...

    def begun(self, weight: Tensor, group: Mapping[str, Any]) -> States:
        """The states of a weight before its first update, on its device."""
        ...

    def update(
        self,
        weights: Sequence[Tensor],
        gradients: Sequence[Tensor],
        states: Sequence[States],
        group: Mapping[str, Any],
        refused: Tensor | None,
    ) -> None:
        """One step of Adam in place; where `refused` is 1, nothing.

        A gradient has its weight's dtype and layout. `group` holds `lr`, `betas` and `eps`.
        """
        ...

    def second(self, state: States, weight: Tensor) -> Tensor:
        """The second moment, in the weight's shape; not to be written to."""
        ...
