"""Small sizes at which a module can be called: which of a call's axes may shrink is tried out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice, product
from typing import NamedTuple

from sci_memeff.chunking.probing.example import Axis, Sizes
from sci_memeff.chunking.probing.runs import RefusedError, Runs

__all__ = ["small_sizes"]

_MOST_BYTES = 2**26
_PRIMES = (5, 3, 7, 11, 13, 17, 19, 23, 29, 31)
# Which axes shrink of those whose length is a parameter's, too: likely no channels first.
_SMALL_PLACES = (("inner", "second"), ("inner", "second", "last"), ("inner", "last"), ())
_MOST_GUESSES = 64
_STEPS = (16, 32, 64)  # for axes that want a multiple, or more than a kernel's width


class Class(NamedTuple):
    """Axes of one length, and where they are if a parameter has that length too."""

    place: str
    axes: tuple[Axis, ...]


def small_sizes(runs: Runs) -> tuple[Sizes, Runs]:
    """Sizes for all axes, and `runs` with the kind of integers that goes with them.

    Axes of one length shrink to one prime, those of lengths that parameters have, if they may, and
    else keep theirs. Refused, with what the module raised, where it runs at no sizes of at most
    64 MiB.
    """
    classes = _classes(runs)
    refusals: list[RefusedError] = []
    kinds = (True, False) if any(x.values is not None for x in runs.example.operands) else (True,)
    tried: list[dict[Class, int]] = []
    for levels in _guesses(classes):
        if levels in tried:
            continue
        tried.append(levels)
        for own in kinds:
            trial = replace(runs, own=own)
            try:
                _try(trial, classes, levels)
            except RefusedError as refused:
                refusals.append(refused)
            else:
                return _sizes(classes, _shrunk(trial, classes, levels)), trial
    raise RefusedError(f"at small sizes {refusals[0]}; at its own {refusals[-1]}")


def _widths(runs: Runs) -> set[int]:
    return {n for x in (*runs.module.parameters(), *runs.module.buffers()) for n in x.shape}


def _classes(runs: Runs) -> dict[Class, int]:
    """Axes that shrink together, with their length; the longest first.

    Where a parameter has that length, last and second axes, which may be channels, go apart.
    """
    widths = _widths(runs)
    found: dict[tuple[int, str], list[Axis]] = {}
    for (i, d), length in runs.example.axes().items():
        place = _place(d, len(runs.example.operands[i].shape)) if length in widths else "free"
        found.setdefault((length, place), []).append((i, d))
    ordered = sorted(found.items(), key=lambda item: -item[0][0])
    return {Class(place, tuple(axes)): length for (length, place), axes in ordered}


def _place(dim: int, ndim: int) -> str:
    if dim == -1:
        return "last"
    return "second" if dim == 1 - ndim else "inner"


def _guesses(classes: Mapping[Class, int]) -> Iterator[dict[Class, int]]:
    """Lengths for every class, of which the first that runs is taken."""
    small = _small(classes)
    tied = sorted({n for one, n in classes.items() if one.place != "free"}, reverse=True)
    for chosen in islice(product(_SMALL_PLACES, repeat=len(tied)), _MOST_GUESSES):
        places = dict(zip(tied, chosen, strict=True))
        yield {
            one: small[one] if one.place in ("free", *places.get(n, ())) else n
            for one, n in classes.items()
        }
    free = [one for one in classes if one.place == "free"]
    for step in _STEPS:
        yield {one: min(step, n) if one in free else n for one, n in classes.items()}
    for count in range(1, len(free) + 1):
        kept = free[-count:]  # the shortest
        yield {
            one: small[one] if one in free and one not in kept else n for one, n in classes.items()
        }


def _small(classes: Mapping[Class, int]) -> dict[Class, int]:
    """A prime for every length."""
    lengths = list(dict.fromkeys(classes.values()))
    return {one: _PRIMES[min(lengths.index(n), len(_PRIMES) - 1)] for one, n in classes.items()}


def _shrunk(runs: Runs, classes: Mapping[Class, int], levels: dict[Class, int]) -> dict[Class, int]:
    """`levels`, with every class that is not small as small as it may be alone."""
    small = _small(classes)
    for one in classes:
        if levels[one] == small[one]:
            continue
        for n in (small[one], *(step for step in _STEPS if step < levels[one])):
            trial = {**levels, one: n}
            try:
                _try(runs, classes, trial)
            except RefusedError:
                continue
            levels = trial
            break
    return levels


def _try(runs: Runs, classes: Mapping[Class, int], levels: Mapping[Class, int]) -> None:
    sizes = _sizes(classes, levels)
    if runs.example.num_bytes(sizes) > _MOST_BYTES:
        raise RefusedError(f"its tensors have more than {_MOST_BYTES // 2**20} MiB")
    if sum(8 * x.numel() for x in runs.outputs(runs.drawn(sizes, "normal"))) > _MOST_BYTES:
        raise RefusedError(f"its outputs have more than {_MOST_BYTES // 2**20} MiB")


def _sizes(classes: Mapping[Class, int], levels: Mapping[Class, int]) -> dict[Axis, int]:
    return {axis: levels[one] for one in classes for axis in one.axes}
