"""`verify`: whether a planned model's loss and gradients are those of the plain one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from sci_memeff._apply import apply, describe, restore
from sci_memeff._plan import Plan
from sci_memeff.errors import BadConfigError, VerificationError
from sci_memeff.planning.answers import Answer, Step, answer
from sci_memeff.planning.comparison import OF_NOISE, OF_SHAKING, OWN, Answers, compared
from sci_memeff.planning.copies import copied, same_state, twin
from sci_memeff.planning.guard import Guard, available_bytes
from sci_memeff.planning.out_of_memory import free_unused, is_out_of_memory
from sci_memeff.planning.roundings import Terms, rounded_otherwise, rounding_tolerance
from sci_memeff.planning.smaller import Smaller, less_and_less
from sci_memeff.planning.verified import Verified, VerifiedRow

__all__ = ["Reference", "verify"]

Reference = Literal["float32", "float64"]
DTYPES = {"float32": torch.float32, "float64": torch.float64}

SEED = 0
SHARE = 0.9  # of the memory that is there: the rest is for what is not counted


def verify(
    model: nn.Module | Callable[[], nn.Module],
    step: Step,
    batch: Any,
    *,
    plan: Plan | None = None,
    tolerance: float | None = None,
    reference: Reference | None = None,
    smaller: Sequence[Smaller] = (),
) -> Verified:
    """Run `step(model, batch)` planned and plain, and compare the loss and every gradient.

    Planned is the model as its seams stand, or under `plan`; plain is the same with every seam at
    its default. Both draw the same random numbers. What is compared are the gradients
    of all parameters, and of all tensors in `batch` that require one: the Euclidean norm of the
    difference, over that of the plain gradient; over a hundredth of what is usual for a gradient
    of its size where that is more, since a gradient that is zero but for rounding has no digits.
    A gradient that only one of them has fails, whatever its size.

    The tolerance, unless one is given, is that of another order of additions, by dtype and by how
    many terms a gradient is the sum of: the first lines of `planning/roundings.py` derive it. What
    is beyond it may be 32 times as far as the plain model's own gradient goes when every weight is
    changed by one rounding, which is then found by one more run: the layers between multiply
    roundings, and sums that cancel keep little else. In half precision all this is wide.

    With `reference`, both are compared with a plain copy of the model and the batch in that dtype
    instead, and may be off by the greatest of that tolerance, twice what the plain model itself is
    off, and a quarter of what another seed changes: for plans that are not exact, and for half
    precision.

    The model is not touched: all runs are on a copy, of which random generators and buffers are put
    back as well. It costs the parameters' bytes once more on their device (with a reference, twice)
    and gradients on the CPU. Where the plain model does not fit into memory, both run on less: on
    what the first of the functions `smaller` that fits makes of the batch (a smaller crop); without
    any, on slices of the batch, where every tensor has the same leading dimension. `on` says which.
    (On the CPU, tensors are counted for that: the system would end the process. What torch.compile
    compiled is run plainly then.)

    BadPlanError for a plan that does not fit the model; BadConfigError for a model that has no
    values or cannot be copied; VerificationError where not even the least fits. A failed comparison
    is a result: `raise_if_bad` makes it an error. The allocator's own error where the planned model
    does not fit.
    """
    runs = _Runs(model if isinstance(model, nn.Module) else model(), step, plan, reference)
    planned: Answer | None = runs.planned(batch)  # whose want of memory is the caller's to know
    for on, batches in less_and_less(batch, smaller):
        try:
            found = [runs.compared(each, planned, tolerance) for each in batches]
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        else:
            return runs.verified(found, on, tolerance)
        planned = None
        free_unused()
    raise VerificationError(
        "the plain model does not fit into memory, however small the batch was made",
        mend="give functions that make the batch smaller (`smaller=`), such as a shorter crop, or "
        "verify a smaller configuration of the model",
    )


def reference_dtype(name: str) -> torch.dtype:
    """BadConfigError for a name that is no `Reference`."""
    if name not in DTYPES:
        raise BadConfigError(
            f"there is no reference {name!r}", mend=f"use one of {', '.join(DTYPES)}, or None"
        )
    return DTYPES[name]


class _Compared(NamedTuple):
    """What one batch came to."""

    loss: float | None
    planned_loss: float | None
    rows: list[VerifiedRow]


class _Runs:
    """The copies of a model, and what runs on them."""

    def __init__(
        self,
        model: nn.Module,
        step: Step,
        plan: Plan | None,
        reference: Reference | None,
    ) -> None:
        self.original = model
        self.step = step
        self.reference = reference
        self.exact = None if reference is None else reference_dtype(reference)
        self.with_plan = copied(model)
        if plan is not None:
            apply(self.with_plan, plan)
        self.plain = restore(twin(self.with_plan))
        self.terms = Terms()

    def planned(self, batch: Any) -> Answer:
        return self._answer(self.with_plan, batch, SEED)

    def compared(self, batch: Any, planned: Answer | None, tolerance: float | None) -> _Compared:
        """Of one batch; the gradients of it are gone afterwards."""
        planned = planned or self.planned(batch)
        with self.terms.counting(self.plain):
            plain = self._answer(self.plain, batch, SEED)
        another = reference = None
        if self.exact is not None:
            another = self._answer(self.plain, batch, SEED + 1)
            reference = self._answer(copied(self.plain).to(self.exact), batch, SEED, self.exact)
        answers = Answers(planned, plain, another, reference)
        rows = self._rows(answers, tolerance)
        if tolerance is None and any(row.share > 1 and not row.problem for row in rows):
            other = rounded_otherwise(copied(self.plain), self.dtype)
            rows = self._rows(replace(answers, shaken=self._answer(other, batch, SEED)), None)
        return _Compared(plain.loss, planned.loss, rows)

    def _told(self) -> AbstractContextManager[object]:
        """Has the CPU say that it has no more memory, as other devices do."""
        most = available_bytes()
        on_cpu = all(p.device.type == "cpu" for p in self.plain.parameters())
        return Guard(int(SHARE * most)) if most is not None and on_cpu else nullcontext()

    def _rows(self, answers: Answers, tolerance: float | None) -> list[VerifiedRow]:
        rows = compared(answers, lambda name: self.terms.of(self.plain, name), self.dtype)
        return [row if tolerance is None else replace(row, tolerance=tolerance) for row in rows]

    def _answer(
        self, model: nn.Module, batch: Any, seed: int, dtype: torch.dtype | None = None
    ) -> Answer:
        same_state(model, self.original)
        with self._told():
            return answer(model, self.step, batch, seed=seed, dtype=dtype)

    def verified(self, found: Sequence[_Compared], on: str, tolerance: float | None) -> Verified:
        """Of several batches, the worst row of each name."""
        worst: dict[str, VerifiedRow] = {}
        for row in (row for each in found for row in each.rows):
            if row.name not in worst or row.share > worst[row.name].share:
                worst[row.name] = row
        names = [name for name, p in self.plain.named_parameters() if p.requires_grad]
        return Verified(
            rows=tuple(sorted(worst.values(), key=lambda row: -row.share)),
            loss=_mean(each.loss for each in found),
            planned_loss=_mean(each.planned_loss for each in found),
            on=on,
            dtype=str(self.dtype).removeprefix("torch."),
            reference=self.reference,
            why=self._why(tolerance, any(row.shaken is not None for row in worst.values())),
            changed=sum(len(seams) for seams in describe(self.with_plan).values()),
            without=sum(name not in worst for name in names),
        )

    @property
    def dtype(self) -> torch.dtype:
        """The narrowest that was computed in."""
        found = {p.dtype for p in self.plain.parameters() if p.is_floating_point()}
        return max({self.terms.dtype} | found, key=lambda dtype: torch.finfo(dtype).eps)

    def _why(self, tolerance: float | None, shaken: bool) -> str:
        if tolerance is not None:
            return f"{tolerance:g} was asked for"
        name = str(self.dtype).removeprefix("torch.")
        most = self.terms.of(self.plain, "")
        lines = [
            f"another order of additions in {name}, of up to {most} terms, may make a difference "
            f"of {rounding_tolerance(most, self.dtype):.1e}"
        ]
        if self.reference is not None:
            lines.append(
                f"so may {OWN:g} times the plain model's own error, and {OF_NOISE:g} of a seed's"
            )
        if shaken:
            lines.append(f"so may {OF_SHAKING:g} times what rounding the weights otherwise does")
        return ";\n  ".join(lines)


def _mean(losses: Iterable[float | None]) -> float | None:
    known = [loss for loss in losses if loss is not None]
    return sum(known) / len(known) if known else None
