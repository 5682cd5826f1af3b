"""From a survey to groups of like seams, and from those to the plans that a search looks at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from sci_memeff._pattern import compiled, starred
from sci_memeff._plan import Plan, Rule
from sci_memeff._types import Codec
from sci_memeff.checkpointing import Coded, Host, Store
from sci_memeff.checkpointing.stores import ON_DEVICE
from sci_memeff.kernels import Form
from sci_memeff.planning.groups import (
    AttendGroup,
    Choice,
    Group,
    RecipeGroup,
    Segments,
    SliceGroup,
    StackGroup,
    walked,
)
from sci_memeff.planning.survey import Survey, Walked
from sci_memeff.precision import Recipe

__all__ = ["Space", "State", "space_of", "stores_of"]

State = tuple[Choice, ...]
LATE = Host(ahead=False)  # one boundary less on the device, for which the backward pass waits


@dataclass(frozen=True)
class Space:
    """All that a plan may say about one model, group by group."""

    groups: tuple[Group, ...]
    stores: tuple[Store, ...]
    attention: Form = "streaming"
    """The form that plans put where attention is."""
    recipe: Recipe | None = None
    """That of every plan, where none is a group's to choose."""

    @property
    def plain(self) -> State:
        """Nothing at all."""
        return (None,) * len(self.groups)

    def plan(self, state: State) -> Plan:
        """The plan that says this."""
        return Plan(rules=tuple(self._rules(state)), recipe=self.recipe_of(state))

    def recipe_of(self, state: State) -> Recipe | str | None:
        """What its modules compute in."""
        for group, choice in zip(self.groups, state, strict=True):
            if isinstance(group, RecipeGroup) and isinstance(choice, str):
                return choice
        return self.recipe

    def _rules(self, state: State) -> Iterator[Rule]:
        for group, choice in zip(self.groups, state, strict=True):
            yield from group.rules(choice)

    def coarse(self) -> list[State]:
        """The states that are always looked at, from the plain one to the leanest."""
        return self._in_recipes(self._states(self._thrifts()))

    def leaner(self) -> list[State]:
        """Those that are looked at where no other one fits: many slices, and slow for it."""
        thrifts = ((self._all_in(count), True) for count in (64, 256))
        return self._in_recipes(self._states(thrifts))

    def _in_recipes(self, states: list[State]) -> list[State]:
        """The same with every recipe that there is to choose, the narrowest last."""
        found = list(states)
        for i, group in enumerate(self.groups):
            if isinstance(group, RecipeGroup):
                found += [(*s[:i], name, *s[i + 1 :]) for name in group.names for s in states]
        return found

    def _states(self, thrifts: Iterable[tuple[dict[int, Choice], bool]]) -> list[State]:
        found = [self.plain]
        for thrift, is_lean in thrifts:
            for recompute in self._recomputes(thrift, is_lean):
                state = tuple({**thrift, **recompute}.get(i) for i in range(len(self.groups)))
                if state not in found:
                    found.append(state)
        return found

    def lean(self) -> list[State]:
        """The last of them: everything in slices, everything computed again."""
        return self.coarse()[-6:]

    def _thrifts(self) -> Iterator[tuple[dict[int, Choice], bool]]:
        """What is evaluated in slices, ever more of it, and in ever smaller ones.

        With each, whether boundaries are worth their bytes there.
        """
        lean = self._all_in(None)
        slices = any(isinstance(group, SliceGroup) for group in self.groups)
        yield {}, not lean and not slices
        yield dict(lean), not slices
        apart = [i for i, group in enumerate(self.groups) if _is_apart(group)]
        if slices and 0 < len(apart) < sum(isinstance(g, SliceGroup) for g in self.groups):
            for count in (4, 16):
                yield {**lean, **dict.fromkeys(apart, count)}, False
        if slices:
            yield self._all_in(4), False
            yield self._all_in(16), True

    def _all_in(self, count: int | None) -> dict[int, Choice]:
        """Attention without probabilities, and everything that can be in so many slices."""
        choices: dict[int, Choice] = {}
        for i, group in enumerate(self.groups):
            if isinstance(group, AttendGroup):
                choices[i] = self.attention
            elif isinstance(group, SliceGroup) and count is not None:
                choices[i] = count
        return choices

    def _recomputes(
        self, thrift: Mapping[int, Choice], is_lean: bool
    ) -> Iterator[dict[int, Choice]]:
        """Which steps are computed again: none, all, all with fewer boundaries, or moved ones."""
        stacks = [(i, g) for i, g in enumerate(self.groups) if isinstance(g, StackGroup)]
        yield {}
        if not stacks:
            return
        for store in self.stores:
            place = store.keep if isinstance(store, Coded) else store
            if place == LATE and not is_lean:
                continue
            yield {i: Segments(g.count, store=store) for i, g in stacks}
            if is_lean and place == ON_DEVICE:
                yield {i: self._few(g, thrift, store) for i, g in stacks}
                yield {i: self._two_levels(g, store) for i, g in stacks}

    def _few(self, stack: StackGroup, thrift: Mapping[int, Choice], store: Store) -> Segments:
        if stack.seam == "forward":
            return Segments(stack.count, store=store)
        sliced = sum(
            self.groups[i].saved  # type: ignore[attr-defined]
            for i in thrift
            if isinstance(self.groups[i], SliceGroup) and stack.where in self.groups[i].within  # type: ignore[attr-defined]
        )
        inside = max(stack.saved - sliced, stack.boundary)
        lengths = decreasing(stack.count, _kept(stack, store), inside)
        return Segments(stack.count, lengths, store=store)

    @staticmethod
    def _two_levels(stack: StackGroup, store: Store) -> Segments:
        if stack.seam == "forward" or stack.count < 6:
            return Segments(stack.count, store=store)
        lengths = decreasing(stack.count, _kept(stack, store), stack.boundary)
        return Segments(stack.count, lengths, two_levels=True, store=store)


def _kept(stack: StackGroup, store: Store) -> int:
    """About what a boundary comes to: codes are half of bfloat16, and less of float32."""
    return stack.boundary // 2 if isinstance(store, Coded) else stack.boundary


def _is_apart(group: Group) -> bool:
    """Whether it alone frees what its modules keep: nothing around them is computed again."""
    return isinstance(group, SliceGroup) and group.seam == "forward" and not group.within


def decreasing(count: int, boundary: int, inside: int) -> tuple[int, ...]:
    """Lengths of segments, for so many steps, that need the fewest bytes.

    While a segment is differentiated, its steps' insides are alive and the boundaries of those
    before it: i·boundary + length·inside is about the same for all of them.
    """
    if inside <= 0:
        return (count,)
    low, high = 0, boundary + count * inside  # bytes: the first are too few
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _filled(count, boundary, inside, middle) else (middle, high)
    lengths = _filled(count, boundary, inside, high)
    while len(lengths) > 1 and lengths[-1] == lengths[-2]:  # the last is that of all that follow
        lengths.pop()
    return tuple(lengths)


def _filled(count: int, boundary: int, inside: int, num_bytes: int) -> list[int]:
    """The longest segments that fit in so many bytes; none where they do not come to `count`."""
    lengths: list[int] = []
    left = count
    while left:
        longest = (num_bytes - (len(lengths) + 1) * boundary) // inside
        if longest < 1:
            return []
        lengths.append(min(longest, left))
        left -= lengths[-1]
    return lengths


def stores_of(*, hosts: bool, codec: Codec | None) -> tuple[Store, ...]:
    """Where boundaries may be kept: as they are, and then, if they may, as the codec has them."""
    places = (ON_DEVICE, Host(), LATE) if hosts else (ON_DEVICE,)
    return (*places, *(Coded(codec, keep=place) for place in places)) if codec else places


def space_of(survey: Survey, *, stores: tuple[Store, ...], classes: Mapping[str, type]) -> Space:
    """The groups that a survey found."""
    groups: list[Group] = [*_attends(survey, classes), *_walks(survey, classes), *_stacks(survey)]
    return Space(tuple(groups), stores)


def _attends(survey: Survey, classes: Mapping[str, type]) -> Iterator[Group]:
    for where, names in patterns(survey.attends, classes):
        saved, seconds = survey.attends[names[0]]
        yield AttendGroup(
            where=where,
            count=len(names),
            saved=saved,
            seconds=seconds,
            within=_within(survey, names[0]),
        )


def _within(survey: Survey, name: str) -> frozenset[str]:
    return frozenset(stack for stack in survey.stacks if name.startswith(stack + "."))


def _walks(survey: Survey, classes: Mapping[str, type]) -> Iterator[Group]:
    outermost = {n: w for n, w in survey.walks.items() if w.inside is None}
    for where, names in patterns([n for n, w in outermost.items() if w.saved], classes):
        walk: Walked = outermost[names[0]]
        yield SliceGroup(
            where=where,
            count=len(names),
            length=walk.length,
            saved=walk.saved,
            seconds=walk.seconds,
            make=partial(walked, much_shared=walk.much_shared),
            within=_within(survey, names[0]),
        )


def _stacks(survey: Survey) -> Iterator[Group]:
    for name, stack in survey.stacks.items():
        if stack.steps > 1:
            yield StackGroup(
                where=name,
                count=stack.steps,
                boundary=stack.boundary,
                saved=stack.saved,
                seconds=stack.seconds,
                seam="iterate",
                names=stack.names,
            )


def patterns(
    names: Iterable[str], classes: Mapping[str, type]
) -> list[tuple[str, tuple[str, ...]]]:
    """Names that differ in numbers alone, as one pattern each, with the names.

    A pattern matches no other name among those of `classes`: where modules of another class lie
    between, there are several.
    """
    like: dict[str, list[str]] = {}
    for name in classes:
        like.setdefault(starred(name), []).append(name)
    grouped: dict[tuple[str, type], list[str]] = {}
    for name in names:
        grouped.setdefault((starred(name), classes[name]), []).append(name)
    return [
        run
        for (starred, _), found in grouped.items()
        for run in _runs(found, set(like[starred]) - set(found))
    ]


def _runs(names: list[str], others: set[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The names as few patterns, none of which matches one of the others."""
    while names:
        where = _pattern(names)
        if any(map(compiled(where).match, others)):
            where = names[0]
            for count in range(2, len(names)):
                longer = _pattern(names[:count])
                if any(map(compiled(longer).match, others)):
                    break
                where = longer
        matched = tuple(filter(compiled(where).match, names))
        yield where, matched
        names = [name for name in names if name not in matched]


def _pattern(names: list[str]) -> str:
    """`a.<0-47>.b`; a number that is the same in all of them stays."""
    parts = [name.split(".") for name in names]
    told = []
    for column in zip(*parts, strict=True):
        if len(set(column)) == 1:
            told.append(column[0])
        else:
            numbers = sorted(int(x) for x in set(column))
            told.append(f"<{numbers[0]}-{numbers[-1]}>")
    return ".".join(told)
