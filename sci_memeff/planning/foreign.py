"""Groups of models that nobody has prepared: what may be computed again, and what in slices."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from sci_memeff.checkpointing import recomputed
from sci_memeff.chunking import sliced
from sci_memeff.chunking.arguments import rows_among
from sci_memeff.chunking.summed import summed
from sci_memeff.models import hints
from sci_memeff.planning.candidates import patterns
from sci_memeff.planning.groups import Group, SliceGroup, StackGroup
from sci_memeff.planning.probed import Calls, probed
from sci_memeff.planning.rehearsal import Rehearsal
from sci_memeff.planning.units import Found, has_seams, units_of

__all__ = ["Heard", "foreign_groups", "known_of"]

Stack = tuple[str, tuple[str, ...]]  # a pattern, and the names that it stands for


class Heard:
    """The first call of each module, as far as sizes go."""

    def __init__(self, rehearsal: Rehearsal, found: Found) -> None:
        self._rehearsal = rehearsal
        self._found = found
        self.lengths: dict[tuple[int, str], int] = {}  # by structure and kind of hint
        self.carried: dict[int, int] = {}
        """Bytes of the arguments of each structure that need a gradient."""
        self.calls = None if found or has_seams(rehearsal.model) else Calls()
        """Of models that nobody knows."""

    def __call__(
        self, module: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any
    ) -> None:
        """Take down a call."""
        number = self._rehearsal.structures.number(module)
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        sizes = {x.untyped_storage()._cdata: x.nbytes for x in tensors if x.requires_grad}
        self.carried.setdefault(number, sum(sizes.values()))
        if self.calls is not None:
            self.calls.note(number, args, kwargs)
        name = self._rehearsal.names[module]
        for hint in self._found.get(name, ()):
            if hint.in_dims and (number, hint.kind) not in self.lengths:
                dims = rows_among(forward, args, kwargs, tuple(hint.in_dims.items()))
                leaves = tree_leaves((args, kwargs))
                longest = max(leaves[i].shape[dim] for i, dim in dims.items())
                self.lengths[number, hint.kind] = longest


def foreign_groups(rehearsal: Rehearsal, heard: Heard, found: Found) -> Iterator[Group]:
    """What may be sliced, and what may be computed again."""
    names = {name: module for module, name in rehearsal.names.items()}
    classes = {name: type(module) for name, module in names.items()}
    number = rehearsal.structures.number
    units = [n for n in units_of(rehearsal.model, found) if number(names[n]) in heard.carried]
    if heard.calls is not None:
        found, lengths = probed(rehearsal, heard.calls, units)
        heard.lengths |= {(one, "slice"): length for one, length in lengths.items()}
    stacks = list(_in_rows(units, classes))
    for where, members in stacks:
        profile = rehearsal.kept.get(number(names[members[0]]))
        if profile is not None and profile.saved:
            yield StackGroup(
                where=where,
                count=len(members),
                boundary=heard.carried[number(names[members[0]])],
                saved=profile.saved,
                seconds=profile.cost.seconds,
                seam="forward",
                names=members,
            )
    # of two rules for one module the last holds, and slices keep no more than a recomputation does
    yield from _slices(rehearsal, heard, found, stacks)


def _in_rows(names: Iterable[str], classes: Mapping[str, type]) -> Iterator[Stack]:
    """Names that differ in their last number alone: stacks of a U-net differ in size."""
    rows: dict[str, list[str]] = {}
    for name in names:
        rows.setdefault(re.sub(r"^(.*\.)?\d+(?=\.|$)", r"\1#", name), []).append(name)
    for row in rows.values():
        yield from patterns(row, classes)


def _slices(
    rehearsal: Rehearsal, heard: Heard, found: Found, stacks: list[Stack]
) -> Iterator[Group]:
    names = {name: module for module, name in rehearsal.names.items()}
    classes = {name: type(module) for name, module in names.items()}
    number = rehearsal.structures.number
    by_hint: dict[tuple[Any, ...], list[str]] = {}
    for name, kinds in found.items():
        for hint in kinds:
            if hint.kind in ("slice", "sum"):
                key = (hint.kind, tuple(hint.in_dims.items()), hint.out_dims, hint.sums)
                by_hint.setdefault(key, []).append(name)
    for (kind, in_dims, out_dims, sums), members in by_hint.items():
        make = (
            partial(sliced, in_dims=dict(in_dims), out_dims=out_dims)
            if kind == "slice"
            else partial(summed, in_dims=dict(in_dims), sums=sums, each=recomputed())
        )
        for where, alike in _in_rows(members, classes):
            one = number(names[alike[0]])
            profile = rehearsal.kept.get(one)
            if profile is None or not profile.saved or (one, kind) not in heard.lengths:
                continue
            yield SliceGroup(
                where=where,
                count=len(alike),
                length=heard.lengths[one, kind],
                saved=profile.saved,
                seconds=profile.cost.seconds,
                make=make,
                seam="forward",
                within=frozenset(w for w, units in stacks if _is_in(alike[0], units)),
            )


def _is_in(name: str, units: tuple[str, ...]) -> bool:
    return any(name.startswith(f"{unit}.") for unit in units)


def known_of(model: nn.Module) -> Found:
    """What this package knows of the model's modules."""
    return hints(model)
