"""Out of memory is not the end: what did not fit is run again under the next leaner plan."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sci_memeff._apply import apply
from sci_memeff._plan import Plan
from sci_memeff.errors import NoLeanerPlanError
from sci_memeff.measure.table import human_bytes
from sci_memeff.planning.out_of_memory import free_unused, is_out_of_memory
from sci_memeff.training.setup import ModelAndLoss

__all__ = ["PlanInForce", "Tightened"]

T = TypeVar("T")


@dataclass(frozen=True)
class Tightened:
    """An allocator's refusal, and the plan that took the place of the one before."""

    said: str
    """The first line of the allocator's message."""
    peak_bytes: int | None
    """What the plan before was predicted to need; None where nothing was predicted."""
    plan: Plan
    """The leaner one."""

    def __str__(self) -> str:
        before = "without a plan" if self.peak_bytes is None else human_bytes(self.peak_bytes)
        found = self.plan.prediction
        after = "a leaner plan" if found is None else f"a plan for {human_bytes(found.peak_bytes)}"
        slower = f", {found.flops_ratio:.2f} × the plain FLOPs" if found else ""
        return f"out of memory ({self.said}), {before}: going on with {after}{slower}"


class PlanInForce:
    """The plan that a model and its loss hold, and leaner ones to go on with.

    `front` gives plans from the one that needs the most bytes to the one that needs the fewest; it
    is asked when memory is short for the first time. `changed` is told of every step along it.
    Without a `plan`, both are run as their seams stand.
    """

    def __init__(
        self,
        whole: ModelAndLoss,
        plan: Plan | None = None,
        front: Callable[[], Sequence[Plan]] | None = None,
        changed: Callable[[Tightened], None] | None = None,
    ) -> None:
        self.plan: Plan | None = None
        self._whole = whole
        self._ask = front
        self._changed = changed
        self._front: Sequence[Plan] | None = None
        if plan is not None:
            self.put(plan)

    def put(self, plan: Plan) -> None:
        """Have `plan` in force; BadPlanError, before anything is changed, where it does not fit."""
        apply(self._whole, plan)
        self.plan = plan

    def run(self, attempt: Callable[[], T], undo: Callable[[], None] = lambda: None) -> T:
        """`attempt()`; where memory is short, `undo()`, a leaner plan, and `attempt()` once more.

        And so on along the front. `attempt` must do the same whenever it is called; `undo` takes
        back what an unfinished one left. NoLeanerPlanError at the front's end.
        """
        while True:
            try:
                return attempt()
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                said = (str(error) or type(error).__name__).splitlines()[0]
            # here the error is gone, and with it the frames that held the step's tensors
            free_unused()
            self._tighten(said)
            undo()

    def _tighten(self, said: str) -> None:
        before, leaner = self.plan, self._leaner(said)
        self.put(leaner)
        if self._changed is not None:
            found = before.prediction if before else None
            self._changed(Tightened(said, found.peak_bytes if found else None, leaner))

    def _leaner(self, said: str) -> Plan:
        if self._ask is None:
            raise NoLeanerPlanError(
                f"out of memory ({said}), and no other plans are known",
                mend="give a plan that sci_memeff.plan returned, which knows leaner ones; or make "
                "the samples smaller",
            )
        if self._front is None:
            self._front = self._ask()
        for plan in self._front:
            if plan != self.plan and _peak(plan) < _peak(self.plan):
                return plan
        raise NoLeanerPlanError(
            f"out of memory ({said}), and the plan in force is the leanest of {len(self._front)}",
            mend="set a smaller data.crop_size, data.max_msa_clusters or data.max_extra_msa, or "
            "train on a device with more memory",
        )


def _peak(plan: Plan | None) -> float:
    found = None if plan is None else plan.prediction
    return math.inf if found is None else float(found.peak_bytes)
