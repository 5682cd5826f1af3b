"""What a verification found: a row for the loss and for each gradient."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sci_memeff.errors import VerificationError

__all__ = ["Verified", "VerifiedRow"]

SHOWN = 8  # rows of the table


@dataclass(frozen=True, kw_only=True)
class VerifiedRow:
    """The loss, or the gradient of one parameter or input."""

    name: str
    """"loss", the parameter's name, or "batch" and the input's place in it."""
    shape: tuple[int, ...]
    error: float
    """Relative distance from the plain model's, or from the reference's; inf where one is missing
    or not finite."""
    tolerance: float
    terms: int
    """How many terms an element is the sum of."""
    size: float
    """The root mean square of the plain one's elements."""
    plain_error: float | None = None
    """The plain model's own distance from the reference."""
    seed_noise: float | None = None
    """How far two seeds of the plain model are apart."""
    shaken: float | None = None
    """How far the plain model's goes when its weights are rounded otherwise."""
    problem: str = ""
    """What is wrong beyond a difference, such as a gradient that is not there."""

    @property
    def ok(self) -> bool:
        """Whether the error is within the tolerance."""
        return self.error <= self.tolerance

    @property
    def share(self) -> float:
        """The error as a multiple of the tolerance."""
        if not self.tolerance:
            return 0.0 if not self.error else math.inf
        return self.error / self.tolerance


@dataclass(frozen=True, kw_only=True)
class Verified:
    """The outcome of `verify`; `print` shows it as a table, `raise_if_bad` makes a gate of it."""

    rows: tuple[VerifiedRow, ...]
    """The worst first, by error over tolerance."""
    loss: float | None
    """The plain model's; None where the step returns none."""
    planned_loss: float | None
    on: str
    """What both ran on: "the whole batch", or the slices or the smaller batch that fitted."""
    dtype: str
    """The narrowest that the step computed in."""
    reference: str | None
    """The dtype of the copy that both were compared with; None where with each other."""
    why: str
    """Where the tolerance comes from."""
    changed: int
    """Seams that were not at their default."""
    without: int
    """Parameters that no gradient flowed to, in both."""

    @property
    def ok(self) -> bool:
        """Whether every row is, and there is a gradient to judge by."""
        return self.compared > 0 and all(row.ok for row in self.rows)

    @property
    def worst(self) -> VerifiedRow:
        """The row that comes closest to its tolerance, or is furthest beyond."""
        return self.rows[0]

    @property
    def gradients(self) -> tuple[VerifiedRow, ...]:
        """All rows but the loss's."""
        return tuple(row for row in self.rows if row.name != "loss")

    @property
    def compared(self) -> int:
        """Gradients that were not zero in both, which would prove nothing."""
        return sum(row.size > 0 or row.error > 0 for row in self.gradients)

    def raise_if_bad(self) -> Verified:
        """Itself; VerificationError where something is beyond its tolerance."""
        if self.ok:
            return self
        if not self.compared:
            raise VerificationError(
                "no gradient was there to compare: all are zero or missing in the plain model too",
                mend="let the step return a loss that depends on the model, and give weights that "
                "are not freshly initialised to zero",
            )
        bad = [row for row in self.rows if not row.ok]
        worst = self.worst
        what = worst.problem or f"is off by {worst.error:.2g}, where {worst.tolerance:.2g} may be"
        raise VerificationError(
            f"{len(bad)} of {len(self.rows)} comparisons failed; the worst: {worst.name} {what}",
            mend="leave out the plan's rule for that module. Where random numbers are drawn inside "
            "of slices, such as by dropout, compare in evaluation mode; where the precision is "
            "half, with reference='float64'",
        )

    def to_dict(self) -> dict[str, Any]:
        """Every figure, in plain Python types; what is not finite is None."""
        found = asdict(self)
        found["rows"] = [_finite({**row, "shape": list(row["shape"])}) for row in found["rows"]]
        return {"ok": self.ok, "compared": self.compared, **_finite(found)}

    def to_json(self) -> str:
        """`to_dict` as one line."""
        return json.dumps(self.to_dict())

    def __str__(self) -> str:
        compared = "each other" if self.reference is None else f"a {self.reference} reference"
        lines = [
            f"{'verified' if self.ok else 'NOT verified'}: the loss and {self.compared} gradients "
            f"on {self.on}, {self.changed} seams changed",
            f"  compared with {compared}; {self.why}",
        ]
        if self.loss is not None and self.planned_loss is not None:
            lines.append(f"  loss {self.loss:.9g} plain, {self.planned_loss:.9g} planned")
        if not self.changed:
            lines.append("  both ran plain: give a plan, or apply one to the model first")
        zero = len(self.gradients) - self.compared
        if zero or self.without:
            lines.append(
                f"  {zero} gradients are zero in both, {self.without} parameters have none: "
                "these prove nothing"
            )
        return "\n".join([*lines, "", *_table(self.rows)])


def _table(rows: Sequence[VerifiedRow]) -> list[str]:
    """The worst rows, with the columns that any of them has."""
    names = {"plain_error": "plain's error", "seed_noise": "two seeds", "shaken": "other roundings"}
    columns = [key for key in names if any(getattr(row, key) is not None for row in rows)]
    cells = [["worst of all", "error", "tolerance", "terms", *(names[key] for key in columns)]]
    for row in rows[:SHOWN]:
        figures = [_number(row.error), _number(row.tolerance), str(row.terms)]
        cells.append([row.name, *figures, *(_number(getattr(row, key)) for key in columns)])
    width = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            [first.ljust(width[0]), *(c.rjust(n) for c, n in zip(rest, width[1:], strict=True))]
        )
        for first, *rest in cells
    ]
    lines = [
        f"{line}  {row.problem if row else ''}".rstrip()
        for line, row in zip(lines, [None, *rows[:SHOWN]], strict=True)
    ]
    if len(rows) > SHOWN:
        lines.append(f"and {len(rows) - SHOWN} more, closer")
    return lines


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1e}"


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has neither infinity nor NaN."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in values.items()
    }
