"""`Plan`: memory policy as a value. `_apply` puts it into a model."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from sci_memeff._plan_json import from_text, to_text
from sci_memeff._plan_table import table
from sci_memeff._prediction import Prediction
from sci_memeff._rule import DEFAULTS, Rule, Seam, Use
from sci_memeff.data.files import read_text, write_atomically
from sci_memeff.errors import BadPlanError
from sci_memeff.precision import Recipe, recipe_of

__all__ = ["DEFAULTS", "Origin", "Plan", "Rule", "Seam", "Use"]


@runtime_checkable
class Origin(Protocol):
    """The search that a plan came from."""

    def front(self) -> Any:
        """The plans that no other one betters in both bytes and time."""
        ...


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What every seam of a model holds; of several rules that match one, the last holds.

    `recipe` says what every module computes in, and rules may say otherwise of some; it is given as
    a `Recipe`, or by its name in `RECIPES`, and is a `Recipe` then, or None.

    `Plan()` changes nothing. Two plans are equal if their rules and their recipes are. `prediction`
    is what `sci_memeff.plan` expects of it, None for a plan made by hand. `print` shows all as a
    table. BadPlanError for a recipe of no known name.
    """

    rules: tuple[Rule, ...] = ()
    recipe: Recipe | str | None = None
    prediction: Prediction | None = field(default=None, compare=False)
    _origin: Origin | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.recipe is not None:
            object.__setattr__(self, "recipe", recipe_of(self.recipe))

    def __str__(self) -> str:
        return table(self.rules, self._recipe, self.prediction)

    @property
    def _recipe(self) -> Recipe | None:
        return None if self.recipe is None else recipe_of(self.recipe)

    def to_json(self) -> str:
        """As text, with the version of its schema.

        BadPlanError for a rule whose callable is not one of this package's, which nobody else
        could find by a name.
        """
        return to_text(self.rules, self._recipe, self.prediction)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """The plan that `to_json` wrote, on any machine.

        BadPlanError for another schema and for what this version does not know, each with the
        place where it stands; MissingPackageError for a form of attention whose package is not
        installed.
        """
        rules, recipe, prediction = from_text(text)
        return cls(rules=rules, recipe=recipe, prediction=prediction)

    def save(self, path: str | Path) -> Path:
        """Write `to_json` there, the whole file or nothing; BadDataError where that fails."""
        return write_atomically(path, self.to_json() + "\n")

    @classmethod
    def load(cls, path: str | Path) -> Plan:
        """The plan that `save` wrote; BadDataError for a file that cannot be read."""
        return cls.from_json(read_text(path))

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
