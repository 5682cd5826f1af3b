"""`Plan`: memory policy as a value. `_apply` puts it into a model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from sci_memeff._pattern import compiled
from sci_memeff._prediction import Prediction
from sci_memeff._types import Attend, Forward, Iterate, Walk, in_turn, plainly, whole
from sci_memeff.errors import BadPlanError
from sci_memeff.kernels import attention

__all__ = ["DEFAULTS", "Origin", "Plan", "Rule", "Seam", "Use"]

Seam = Literal["walk", "iterate", "attend", "forward"]
Use = Walk | Iterate | Attend | Forward
DEFAULTS: dict[Seam, Use] = {
    "walk": whole,
    "iterate": in_turn,
    "attend": attention,
    "forward": plainly,
}


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What the seams of one name hold, in all modules whose names match.

    `where` is a pattern of the shell's kind over names as `named_modules` gives them: `*` stands
    for any characters, dots included, so "evoformer.*" is all that is inside of the Evoformer, and
    "*" is every module, the model itself too; `<3-11>` stands for any whole number from 3 to 11.

    Modules of this package have the seams that they call. Every module there is, of anybody's,
    has the seam "forward".
    """

    where: str
    seam: Seam
    use: Use

    def __post_init__(self) -> None:
        compiled(self.where)

    def matches(self, name: str, seam: Seam) -> bool:
        """Whether it says what this seam of the module of that name holds."""
        return seam == self.seam and compiled(self.where).match(name) is not None


@runtime_checkable
class Origin(Protocol):
    """The search that a plan came from."""

    def front(self) -> Any:
        """The plans that no other one betters in both bytes and time."""
        ...


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What every seam of a model holds; of several rules that match one, the last holds.

    `Plan()` changes nothing. Two plans are equal if their rules are. `prediction` is what
    `sci_memeff.plan` expects of it, None for a plan made by hand.
    """

    rules: tuple[Rule, ...] = ()
    prediction: Prediction | None = field(default=None, compare=False)
    _origin: Origin | None = field(default=None, compare=False, repr=False)

    def front(self) -> Any:
        """The plans to choose from for the same step, the fastest first and the leanest last.

        BadPlanError for a plan that did not come from `sci_memeff.plan` in this process: a file
        or a copy keeps no search.
        """
        if self._origin is None:
            raise BadPlanError(
                "this plan was made by hand, copied or read from a file, so there is no search "
                "behind it that could give others",
                mend="call front() on what sci_memeff.plan returns",
            )
        return self._origin.front()

    def __getstate__(self) -> dict[str, Any]:
        """All but the search, which holds a model."""
        return {**vars(self), "_origin": None}
