"""Which arguments of a call might be rows, and along which of their dimensions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

from sci_memeff.chunking.probing.example import Axis, Example
from sci_memeff.chunking.probing.operand import Key

__all__ = ["Rows", "candidates"]

_MOST_SETS = 128  # of arguments, for each length, that are tried


@dataclass(frozen=True)
class Rows:
    """Arguments to cut, each along one dimension, and the axes of their tensors that it means.

    Tensors of length 1 in an argument of several serve every slice, as `sliced` has it.
    """

    in_dims: tuple[tuple[Key, int], ...]
    axes: tuple[Axis, ...]
    length: int


def candidates(example: Example, length: int) -> Iterator[Rows]:
    """Arguments that could be rows along axes of `length`; the likely ones first."""
    given: dict[tuple[Key, int], tuple[Axis, ...]] = {}
    for key in dict.fromkeys(operand.key for operand in example.operands):
        given |= {(key, d): axes for d, axes in _dims_of(example, key, length).items()}
    seen: set[frozenset[tuple[Key, int]]] = set()
    for found in (*_alike(example, given), *_subsets(given)):
        if found and frozenset(found) not in seen:
            seen.add(frozenset(found))
            yield Rows(found, tuple(a for one in found for a in given[one]), length)
        if len(seen) == _MOST_SETS:
            return


def _dims_of(example: Example, key: Key, length: int) -> dict[int, tuple[Axis, ...]]:
    """Dimensions that all tensors of an argument have, of `length` or, some of them, of 1."""
    inside = [(i, x.shape) for i, x in enumerate(example.operands) if x.key == key]
    found = {}
    for d in range(-min(len(shape) for _, shape in inside), 0):
        lengths = {shape[d] for _, shape in inside}
        if length in lengths and lengths <= {length, 1}:
            found[d] = tuple((i, d) for i, shape in inside if shape[d] == length)
    return found


def _alike(
    example: Example, given: Mapping[tuple[Key, int], tuple[Axis, ...]]
) -> Iterator[tuple[tuple[Key, int], ...]]:
    """For each dimension, counted from either end, all arguments that have the axis there."""
    begins = {one: one[1] + len(example.operands[axes[0][0]].shape) for one, axes in given.items()}
    for begin in sorted(set(begins.values())):
        yield _one_each(one for one in given if begins[one] == begin)
    for end in sorted({d for _, d in given}):
        yield tuple(one for one in given if one[1] == end)


def _one_each(found: Iterable[tuple[Key, int]]) -> tuple[tuple[Key, int], ...]:
    return tuple(dict(found).items())


def _subsets(given: Iterable[tuple[Key, int]]) -> Iterator[tuple[tuple[Key, int], ...]]:
    given = list(given)
    for count in range(1, len({key for key, _ in given}) + 1):
        for found in combinations(given, count):
            if len({key for key, _ in found}) == count:
                yield found
