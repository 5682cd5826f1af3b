"""What a plan chooses between: groups of like seams, and what each of them may hold.

A group is all modules of one class whose names differ in numbers alone, such as the row attention
of every block. A choice is a value; `None` leaves the plain default.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from sci_memeff._plan import Rule
from sci_memeff._prediction import Tier
from sci_memeff.checkpointing import Store, in_segments, recomputed
from sci_memeff.checkpointing.stores import ON_DEVICE
from sci_memeff.chunking import in_slices
from sci_memeff.kernels import attend

__all__ = [
    "AttendGroup",
    "Choice",
    "Group",
    "RecipeGroup",
    "Segments",
    "SliceGroup",
    "StackGroup",
]


@dataclass(frozen=True)
class Segments:
    """Recompute the first `first` steps of a stack, in segments of `lengths` steps."""

    first: int
    lengths: tuple[int, ...] = (1,)
    two_levels: bool = False
    store: Store = ON_DEVICE


Choice = int | str | Segments | None


@runtime_checkable
class Group(Protocol):
    """Like seams, of which a plan says one thing."""

    @property
    def where(self) -> str:
        """The pattern of its modules' names."""
        ...

    def rules(self, choice: Choice) -> tuple[Rule, ...]:
        """What a plan says for this choice."""
        ...

    def between(self, lean: Choice, fast: Choice) -> Iterator[Choice]:
        """Choices from after `lean` up to `fast`, each faster than the one before."""
        ...


@dataclass(frozen=True, kw_only=True)
class SliceGroup:
    """Modules that may be evaluated some rows at a time; a choice is the number of slices."""

    where: str
    count: int
    length: int
    """Of the longest axis that is cut."""
    saved: int
    """Bytes that one of them keeps for its backward pass when it is evaluated whole."""
    seconds: float
    """What evaluating one of them once more takes."""
    make: Callable[[int], Any] = field(compare=False)
    """From the rows of a slice to what its seam holds."""
    seam: str = "walk"
    within: frozenset[str] = frozenset()
    """The stacks that its modules are in."""
    tier: Tier = "exact"

    def rules(self, choice: Choice) -> tuple[Rule, ...]:
        """What a plan says for this choice."""
        if not isinstance(choice, int):
            return ()
        return (Rule(where=self.where, seam=self.seam, use=self.make(self.size(choice))),)  # type: ignore[arg-type]

    def size(self, slices: int) -> int:
        """Rows of a slice where there are so many."""
        return max(1, -(-self.length // slices))

    def between(self, lean: Choice, fast: Choice) -> Iterator[Choice]:
        """Choices from after `lean` up to `fast`, each faster than the one before."""
        if lean == fast:
            return
        if isinstance(lean, int):
            least = fast if isinstance(fast, int) else 1
            while lean > least * 2:
                lean //= 2
                yield lean
        yield fast


@dataclass(frozen=True, kw_only=True)
class StackGroup:
    """Steps that follow one another, of which the first so many are computed again."""

    where: str
    """The stack's own name, or a pattern of its steps' where they are recomputed one by one."""
    count: int
    boundary: int
    """Bytes that one step takes over from the one before."""
    saved: int
    """Bytes that one step keeps for its backward pass."""
    seconds: float
    seam: str
    names: tuple[str, ...] = ()
    """The steps' modules, where there are any."""
    tier: Tier = "exact"

    def rules(self, choice: Choice) -> tuple[Rule, ...]:
        """What a plan says for this choice."""
        if not isinstance(choice, Segments) or not choice.first:
            return ()
        if self.seam == "forward":
            return (
                Rule(
                    where=self._first(choice.first),
                    seam="forward",
                    use=recomputed(keep=choice.store),
                ),
            )
        lengths = choice.lengths[0] if len(choice.lengths) == 1 else choice.lengths
        use = in_segments(
            lengths,
            inner=in_segments(1) if choice.two_levels else None,
            keep=choice.store,
            leave=self.count - min(choice.first, self.count),
        )
        return (Rule(where=self.where, seam="iterate", use=use),)

    def _first(self, first: int) -> str:
        """A pattern of the first steps' names."""
        if self.count == 1:
            return self.where
        low, high = numbers_of(self.where)
        return self.where.replace(f"<{low}-{high}>", f"<{low}-{low + first - 1}>")

    def between(self, lean: Choice, fast: Choice) -> Iterator[Choice]:
        """Choices from after `lean` up to `fast`, each faster than the one before."""
        if not isinstance(lean, Segments) or lean == fast:
            return
        least = fast.first if isinstance(fast, Segments) else 0
        for first in range(lean.first - 1, least, -1):
            yield Segments(first, lean.lengths, lean.two_levels, lean.store)
        yield fast


@dataclass(frozen=True, kw_only=True)
class AttendGroup:
    """Attentions; a choice is the name of a form."""

    where: str
    count: int
    saved: int
    """Bytes that one of them keeps for its backward pass in the plain form."""
    seconds: float
    within: frozenset[str] = frozenset()
    tier: Tier = "exact"

    def rules(self, choice: Choice) -> tuple[Rule, ...]:
        """What a plan says for this choice."""
        if not isinstance(choice, str):
            return ()
        return (Rule(where=self.where, seam="attend", use=attend(choice)),)

    def between(self, lean: Choice, fast: Choice) -> Iterator[Choice]:
        """Choices from after `lean` up to `fast`, each faster than the one before."""
        if lean != fast:
            yield fast


@dataclass(frozen=True, kw_only=True)
class RecipeGroup:
    """What the whole model computes in; a choice is a recipe's name, None leaves it as it is."""

    names: tuple[str, ...]
    """Of recipes, the narrowest last."""
    where: str = "*"
    tier: Tier = "lossy"

    def rules(self, choice: Choice) -> tuple[Rule, ...]:
        """None: it is no rule of a plan."""
        return ()

    def between(self, lean: Choice, fast: Choice) -> Iterator[Choice]:
        """Nothing: what is on the way in one recipe is on no way in another."""
        return iter(())


def walked(size: int, *, much_shared: bool) -> Any:
    """What a walk's seam holds for slices of so many rows."""
    return in_slices(size, recompute_shared=much_shared)


def numbers_of(pattern: str) -> tuple[int, int]:
    """The first range in a pattern such as "blocks.<0-47>.attention"."""
    low, _, high = pattern[pattern.index("<") + 1 : pattern.index(">")].partition("-")
    return int(low), int(high)
