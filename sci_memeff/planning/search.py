"""The least time in a budget: a grid of plans that is always looked at, then the way between two.

The grid does not depend on the budget. Its front, the plans that no mixture of two others betters,
is sorted by time; a budget lies between two neighbours, and the leaner of them is made into the
faster one, a choice at a time, as far as it fits. Each is simulated, so what is found fits, and as
a larger budget lets at least as much through at every comparison, it never leads to a slower plan.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from sci_memeff.planning.candidates import Space, State
from sci_memeff.planning.groups import AttendGroup, Choice, Segments, SliceGroup, StackGroup
from sci_memeff.planning.meter import Made
from sci_memeff.planning.rehearsal import Rehearsal
from sci_memeff.planning.targets import Target

__all__ = ["Found", "Progress", "Search"]

SLACK = 0.0075  # of a peak: the most that a rehearsal of a large step was seen to be too low

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True)
class Found:
    """A state, and what a step under its plan comes to."""

    state: State
    peak: int
    phase: str
    module: str
    host: int
    flops: int
    seconds: float
    tensors: Counter[Made] = field(compare=False, repr=False)

    @property
    def needs(self) -> int:
        """The budget that it keeps to for certain."""
        return math.ceil(self.peak * (1 + SLACK))


class Search:
    """Of one model, step and batch on one target.

    What fits must fit for `others` as well: the same step's searches for other batches.
    """

    def __init__(
        self,
        rehearsal: Rehearsal,
        space: Space,
        target: Target,
        progress: Progress | None = None,
    ) -> None:
        self.rehearsal = rehearsal
        self.space = space
        self.target = target
        self.progress = progress or _silent
        self.known: dict[State, Found] = {}
        self.others: Sequence[Search] = ()

    def fits(self, state: State, budget: int) -> bool:
        """Whether all batches' steps do."""
        return all(one.look(state).needs <= budget for one in (self, *self.others))

    def decisive(self, state: State) -> Search:
        """The search for the batch that needs most in this state."""
        return max((self, *self.others), key=lambda one: one.look(state).peak)

    def look(self, state: State) -> Found:
        """What a step comes to in this state; simulated once."""
        if state not in self.known:
            found = self.rehearsal.under(self.space.plan(state))
            computing = found.cost.seconds
            self.known[state] = Found(
                state,
                found.peak,
                found.phase,
                found.module,
                found.elsewhere,
                found.cost.flops,
                computing + self.target.transfer(found.moved, computing),
                found.tensors,
            )
        return self.known[state]

    @property
    def plain(self) -> Found:
        """Nothing changed."""
        return self.look(self.space.plain)

    def grid(self, states: list[State]) -> list[Found]:
        """What each of them comes to."""
        found = []
        for i, state in enumerate(states):
            self.progress("simulating plans", i, len(states))
            found.append(self.look(state))
        self.progress("simulating plans", len(states), len(states))
        return found

    def front(self) -> list[Found]:
        """Of the grid, those that no mixture betters: the fastest first, the leanest last."""
        return hull(self.grid(self.space.coarse()))

    def whole_front(self) -> list[Found]:
        """The same, and after it the leaner ones that there are."""
        front = self.front()
        last = front[-1]
        leaner = [found for found in self.grid(self.space.leaner()) if found.peak < last.peak]
        return [*front, *hull([last, *leaner])[1:]]

    def leanest(self) -> Found:
        """The fewest bytes of all."""
        return self.whole_front()[-1]

    def least_within(self, limit: int) -> int:
        """What the first of the lean plans needs that keeps to `limit`; else the leanest's need."""
        least = self.plain.needs
        for state in (*reversed(self.space.lean()), *self.space.leaner()):
            if least <= limit:
                break
            least = min(least, self.look(state).needs)
        return least

    def best(self, budget: int) -> Found | None:
        """The fastest state that fits; None where nothing does."""
        front = self.front()
        if not self.fits(front[-1].state, budget):
            front = self.whole_front()
        place = next((i for i, one in enumerate(front) if self.fits(one.state, budget)), None)
        if place is None:
            return None
        if place == 0:
            return front[0]
        return self._filled(front[place].state, front[place - 1].state, budget)

    def _filled(self, state: State, fast: State, budget: int) -> Found:
        """As far on the way to the faster one as it fits; then the stacks, past what does not.

        What comes after that which does not fit must not win more time than it would have: a budget
        in which it fits is to give a plan that is no slower.
        """
        least = self.look(fast).seconds
        groups = self.space.groups
        slices = frozenset(i for i, g in enumerate(groups) if not isinstance(g, StackGroup))
        stuck: frozenset[int] = frozenset()
        turns = len(groups) - len(slices) + 1
        for turn in range(turns):
            self.progress("filling the budget", turn, turns)
            way = list(self.way(state, fast, stuck))
            place = self._farthest(way, budget, least)
            state = way[place]
            if place == len(way) - 1:
                break
            beyond = way[place + 1]
            least = max(least, self.look(beyond).seconds)
            pairs = enumerate(zip(state, beyond, strict=True))
            stuck |= slices | {i for i, (one, other) in pairs if one != other}
        self.progress("filling the budget", turns, turns)
        return self.look(state)

    def _farthest(self, way: list[State], budget: int, least: float) -> int:
        """Of a way whose first state fits, one that fits before one that does not, or the last."""

        def is_good(i: int) -> bool:
            return self.fits(way[i], budget) and self.look(way[i]).seconds >= least

        low, high = 0, len(way)
        middle = min(1, high - 1)  # often nothing at all fits
        while high - low > 1:
            low, high = (middle, high) if is_good(middle) else (low, middle)
            middle = (low + high) // 2
        return low

    def dense_front(self, between: int = 3) -> list[Found]:
        """The front, with some states on the way between each two neighbours."""
        front = self.whole_front()
        found = list(front)
        for i in range(1, len(front)):
            self.progress("filling the front", i - 1, len(front) - 1)
            way = list(self.way(front[i].state, front[i - 1].state))
            for k in range(1, between + 1):
                found.append(self.look(way[k * (len(way) - 1) // (between + 1)]))
        self.progress("filling the front", len(front) - 1, len(front) - 1)
        return pareto(found)

    def way(self, lean: State, fast: State, stuck: frozenset[int] = frozenset()) -> Iterator[State]:
        """From one state to a faster one, what wins most time for its bytes first.

        The groups that are stuck stay as they are.
        """
        yield lean
        state = lean
        groups = self.space.groups
        if not stuck and self.space.recipe_of(lean) != self.space.recipe_of(fast):
            yield fast
            return
        free = [i for i in range(len(groups)) if i not in stuck]
        differing = [i for i in free if _is_undone(lean[i], fast[i])]
        for i in sorted(differing, key=lambda i: -self._worth(i, lean)):
            for choice in groups[i].between(lean[i], fast[i]):
                state = (*state[:i], choice, *state[i + 1 :])
                yield state
        if state != fast and not stuck:  # which does other things instead
            yield fast

    def _worth(self, i: int, state: State) -> float:
        """Seconds that undoing a choice wins, for each byte that it costs."""
        group = self.space.groups[i]
        if isinstance(group, StackGroup):
            return group.seconds / max(group.saved - group.boundary, 1)
        if isinstance(group, SliceGroup):
            return group.seconds * group.count / max(self.freed(group, state), 1)
        return 0.0

    def freed(self, group: SliceGroup | AttendGroup, state: State) -> int:
        """About the bytes that a choice frees: of all its modules, or of the one at work."""
        return group.saved * (1 if self._is_recomputed(group, state) else group.count)

    def _is_recomputed(self, group: SliceGroup | AttendGroup, state: State) -> bool:
        """Whether one at a time is alive, since their steps are computed again."""
        return any(
            isinstance(choice, Segments)
            and isinstance(stack, StackGroup)
            and stack.where in group.within
            for stack, choice in zip(self.space.groups, state, strict=True)
        )


def _is_undone(lean: Choice, fast: Choice) -> bool:
    """Whether less is done; what is done in place of something else wins no time by itself."""
    if isinstance(lean, int) and isinstance(fast, int):
        return fast < lean
    return lean is not None and lean != fast


def pareto(found: list[Found]) -> list[Found]:
    """The fastest first; each further one needs fewer bytes than all before."""
    kept: list[Found] = []
    for one in sorted(found, key=lambda f: (f.seconds, f.peak)):
        if not kept or one.peak < kept[-1].peak:
            kept.append(one)
    return kept


def hull(found: list[Found]) -> list[Found]:
    """The corners of the front: of three, the middle one lies below the line through the others.

    What lies above it is bettered on the way between the two: half of what tells them apart is
    done there, for about half of the bytes and of the time.
    """
    kept: list[Found] = []
    for one in pareto(found):
        while len(kept) > 1 and not _is_below(kept[-1], kept[-2], one):
            kept.pop()
        kept.append(one)
    return kept


def _is_below(middle: Found, fast: Found, lean: Found) -> bool:
    """Whether it takes less time than a mixture of the two that needs as many bytes."""
    share = (fast.peak - middle.peak) / (fast.peak - lean.peak)
    return middle.seconds < fast.seconds + share * (lean.seconds - fast.seconds)


def _silent(what: str, done: int, total: int) -> None:
    """Nobody looks."""
