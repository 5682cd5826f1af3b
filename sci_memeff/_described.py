"""What `describe` tells of a model: a mapping, and a table of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sci_memeff._pattern import starred
from sci_memeff._plan_table import in_words
from sci_memeff._rule import Seam
from sci_memeff.measure.table import in_columns

__all__ = ["Described"]


@dataclass(frozen=True, eq=False)
class Described(Mapping[str, dict[Seam, Any]]):
    """By the names of modules, what their seams hold that are not at their default.

    It equals a dict of the same. `print` shows a line for all modules whose names differ in numbers
    alone and which hold the same.
    """

    found: Mapping[str, dict[Seam, Any]]
    notes: Mapping[str, str] = field(default_factory=dict)
    """What there is to say of some modules besides."""

    def __getitem__(self, name: str) -> dict[Seam, Any]:
        return self.found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mapping) and dict(self.found) == dict(other)

    __hash__ = None  # type: ignore[assignment] as a dict has none

    def __str__(self) -> str:
        if not self.found:
            return "every seam is at its default"
        alike: dict[tuple[str, Seam, str], list[str]] = {}
        for name, seams in self.found.items():
            for seam, use in seams.items():
                words = in_words(use)
                if seam == "precision" and name in self.notes:
                    words += f"; {self.notes[name]}"
                alike.setdefault((starred(name), seam, words), []).append(name)
        rows = [(_told(where, names), seam, words) for (where, seam, words), names in alike.items()]
        return in_columns(("module", "seam", "what is done"), rows)


def _told(where: str, names: list[str]) -> str:
    if len(names) == 1:
        return names[0] or "the model"
    return f"{len(names)} × {where}"
