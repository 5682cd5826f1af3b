"""Which seams a step uses, and what each of them keeps and costs: one rehearsal that looks on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from sci_memeff._types import Tensors, in_turn, whole
from sci_memeff.kernels import attention
from sci_memeff.planning.rehearsal import Rehearsal, Rehearsed
from sci_memeff.planning.structure import Interposed

__all__ = ["Stack", "Survey", "Walked", "surveyed"]


@dataclass
class Walked:
    """What walks of one module do in a plain pass."""

    length: int = 0
    """Of the longest axis."""
    calls: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Bytes kept and seconds of each function that is walked."""
    inside: str | None = None
    """The module whose walk calls this one's."""
    much_shared: bool = False
    """Whether something that it shares came from its own walk and is as large as its rows."""

    @property
    def saved(self) -> int:
        """Bytes kept by one call of the module."""
        return sum(left for left, _ in self.calls.values())

    @property
    def seconds(self) -> float:
        """What one call of the module takes."""
        return sum(seconds for _, seconds in self.calls.values())


@dataclass
class Stack:
    """What running a stack of steps does in a plain pass."""

    steps: int
    boundary: int
    saved: int
    seconds: float
    names: tuple[str, ...]


@dataclass
class Survey:
    """By the names of modules."""

    walks: dict[str, Walked] = field(default_factory=dict)
    stacks: dict[str, Stack] = field(default_factory=dict)
    attends: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Bytes that the plain form keeps, and seconds."""
    plain: Rehearsed | None = None


def surveyed(rehearsal: Rehearsal) -> Survey:
    """Rehearse the plain step with a watch on every seam."""
    survey = Survey()
    watch = _Watch(rehearsal, survey)
    survey.plain = rehearsal.under_watch(watch.put)
    _same_for_equals(survey, rehearsal)
    return survey


def _same_for_equals(survey: Survey, rehearsal: Rehearsal) -> None:
    """Of equal modules one alone was run: what it did, the others do as well."""
    number = rehearsal.structures.number
    known = {number(m): survey.walks[n] for m, n in rehearsal.names.items() if n in survey.walks}
    attends = {
        number(m): survey.attends[n] for m, n in rehearsal.names.items() if n in survey.attends
    }
    for module, name in rehearsal.names.items():
        if "walk" in vars(module) and name not in survey.walks and number(module) in known:
            survey.walks[name] = known[number(module)]
        if "attend" in vars(module) and number(module) in attends:
            survey.attends.setdefault(name, attends[number(module)])


class _Watch:
    def __init__(self, rehearsal: Rehearsal, survey: Survey) -> None:
        self.rehearsal = rehearsal
        self.survey = survey
        self.inside: list[str] = []

    def put(self, model: nn.Module) -> None:
        for name, module in model.named_modules():
            if "walk" in vars(module):
                vars(module)["walk"] = _Walking(self, name)
            if "iterate" in vars(module):
                vars(module)["iterate"] = _Iterating(self, name)
            if "attend" in vars(module):
                vars(module)["attend"] = _Attending(self, name)

    def measured(self, run: Callable[[], Any]) -> tuple[Any, int, float]:
        """What it returns, the bytes that are left by it beside that, and its seconds."""
        meter = self.rehearsal.scene.meter
        level, cost = meter.level, meter.cost.copy()
        found = run()
        outputs = [found] if isinstance(found, Tensor) else list(_flat(found))
        sizes = {x.untyped_storage()._cdata: x.untyped_storage().nbytes() for x in outputs}
        left = meter.level - level - sum(sizes.values())
        return found, max(left, 0), meter.cost.since(cost).seconds


class _Walking(Interposed):
    """A plain walk that is looked at."""

    inner = staticmethod(whole)

    def __init__(self, watch: _Watch, name: str) -> None:
        self._watch = watch
        self._name = name
        self._gave: set[int] = set()

    def __call__(
        self,
        fn: Callable[..., Any],
        *,
        rows: Sequence[Tensor],
        shared: Sequence[Tensor] = (),
        in_dims: int | Sequence[int],
        out_dims: int | Sequence[int],
    ) -> Any:
        watch = self._watch
        known = watch.survey.walks.setdefault(self._name, Walked())
        if watch.inside:
            known.inside = watch.inside[-1]
        watch.inside.append(self._name)
        try:
            found, left, seconds = watch.measured(lambda: fn(*rows, *shared))
        finally:
            watch.inside.pop()
        dims = [in_dims] * len(rows) if isinstance(in_dims, int) else list(in_dims)
        length = max(row.shape[dim] for row, dim in zip(rows, dims, strict=True))
        known.length = max(known.length, length)
        # of several passes, the one that keeps most
        known.calls[fn.__name__] = max(known.calls.get(fn.__name__, (0, 0.0)), (left, seconds))
        largest = max(row.nbytes for row in rows)
        own = [x for x in shared if id(x) in self._gave]
        known.much_shared |= any(x.nbytes * 2 > largest for x in own)
        self._gave = {id(x) for x in ([found] if isinstance(found, Tensor) else found)}
        return found


class _Attending(Interposed):
    """A plain attention that is looked at."""

    inner = staticmethod(attention)

    def __init__(self, watch: _Watch, name: str) -> None:
        self._watch = watch
        self._name = name

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, biases: Sequence[Tensor] = ()) -> Tensor:
        found, left, seconds = self._watch.measured(lambda: attention(q, k, v, biases))
        attends = self._watch.survey.attends
        attends[self._name] = max(attends.get(self._name, (0, 0.0)), (left, seconds))
        return found


class _Iterating(Interposed):
    """A plain stack that is looked at."""

    inner = staticmethod(in_turn)

    def __init__(self, watch: _Watch, name: str) -> None:
        self._watch = watch
        self._name = name

    def __call__(
        self,
        steps: Sequence[Callable[..., Tensors]],
        carry: Tensors,
        *,
        context: Sequence[Tensor] = (),
        every: bool = False,
    ) -> list[Tensors]:
        names = self._watch.rehearsal.names
        boundary = sum(x.nbytes for x in carry)

        def run() -> Any:
            return in_turn(steps, carry, context=context, every=every)

        found, left, seconds = self._watch.measured(run)
        count = max(len(steps), 1)
        own = tuple(names[s] for s in steps if isinstance(s, nn.Module) and s in names)
        stack = Stack(len(steps), boundary, left // count, seconds / count, own)
        known = self._watch.survey.stacks.get(self._name)
        if known is None or known.saved < stack.saved:
            self._watch.survey.stacks[self._name] = stack
        return found


def _flat(found: Any) -> Iterator[Tensor]:
    for x in found:
        if isinstance(x, Tensor):
            yield x
        elif isinstance(x, (tuple, list)):
            yield from _flat(x)
