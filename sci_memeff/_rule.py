"""`Rule`: what the seams of some modules hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sci_memeff._pattern import compiled
from sci_memeff._types import Attend, Forward, Iterate, Walk, in_turn, plainly, whole
from sci_memeff.checkpointing import InSegments, Recomputed
from sci_memeff.chunking import InSlices, Sliced, Summed
from sci_memeff.errors import BadPlanError
from sci_memeff.kernels import attention
from sci_memeff.precision import Computed
from sci_memeff.precision.float8 import Float8

__all__ = ["DEFAULTS", "Rule", "Seam", "Use"]

Seam = Literal["walk", "iterate", "attend", "forward", "precision"]
Use = Walk | Iterate | Attend | Forward
DEFAULTS: dict[Seam, Use] = {
    "walk": whole,
    "iterate": in_turn,
    "attend": attention,
    "forward": plainly,
    "precision": plainly,
}


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What the seams of one name hold, in all modules whose names match.

    `where` is a pattern of the shell's kind over names as `named_modules` gives them: `*` stands
    for any characters, dots included, so "evoformer.*" is all that is inside of the Evoformer, and
    "*" is every module, the model itself too; `<3-11>` stands for any whole number from 3 to 11.

    Modules of this package have the seams that they call. Every module there is, of anybody's,
    has the seams "forward" and "precision", whose uses are both a `Forward`; the second acts inside
    of the first.
    """

    where: str
    seam: Seam
    use: Use

    def __post_init__(self) -> None:
        compiled(self.where)
        seams = _seams_of(self.use)
        if seams and self.seam not in seams:
            raise BadPlanError(
                f"the rule for {self.where!r} puts {self.use} on the seam {self.seam!r}",
                mend=f"put it on the seam {' or '.join(map(repr, seams))}",
            )

    def matches(self, name: str, seam: Seam) -> bool:
        """Whether it says what this seam of the module of that name holds."""
        return seam == self.seam and compiled(self.where).match(name) is not None


_SEAMS: dict[type, Seam] = {
    InSlices: "walk",
    InSegments: "iterate",
    Recomputed: "forward",
    Sliced: "forward",
    Summed: "forward",
    Computed: "precision",
    Float8: "precision",
}


def _seams_of(use: Use) -> list[Seam]:
    """Those that `use` is for; none for what others made."""
    plain: list[Seam] = [seam for seam, default in DEFAULTS.items() if use is default]
    own = _SEAMS.get(type(use))
    return plain or ([] if own is None else [own])
