"""`Plan`: memory policy as a value. `_apply` puts it into a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sci_memeff._types import Attend, Iterate, Walk, in_turn, whole
from sci_memeff.kernels import attention

__all__ = ["DEFAULTS", "Plan", "Rule", "Seam"]

Seam = Literal["walk", "iterate", "attend"]
DEFAULTS: dict[Seam, Walk | Iterate | Attend] = {
    "walk": whole,
    "iterate": in_turn,
    "attend": attention,
}


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What the seams of one name hold, in all modules whose names match.

    `where` is a pattern of the shell's kind over names as `named_modules` gives them: `*` stands
    for any characters, dots included, so "evoformer.*" is all that is inside of the Evoformer, and
    "*" is every module, the model itself too.
    """

    where: str
    seam: Seam
    use: Walk | Iterate | Attend


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What every seam of a model holds; of several rules that match one, the last holds.

    `Plan()` changes nothing.
    """

    rules: tuple[Rule, ...] = ()
