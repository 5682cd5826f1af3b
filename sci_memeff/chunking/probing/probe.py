"""Finding the axes along which a module that nobody has prepared can be evaluated in slices.

Nothing is known of the module but what it answers. Everything happens on a copy of it in float64,
at small sizes where it runs at such, with other weights; `docs/foreign.md` says what is tried.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from sci_memeff.chunking.probing.double import (
    double_copy,
    in_double,
    redraw_matrices,
    redraw_vectors,
)
from sci_memeff.chunking.probing.example import Example, Sizes
from sci_memeff.chunking.probing.operand import Draw
from sci_memeff.chunking.probing.proof import (
    Drawn,
    cuts_agree,
    gradients_agree,
    others_do_not_matter,
    out_dims_of,
)
from sci_memeff.chunking.probing.rows import Rows, candidates
from sci_memeff.chunking.probing.runs import RefusedError, Runs
from sci_memeff.chunking.probing.sizes import small_sizes

__all__ = ["Independence", "Probed", "explain", "independent_axes"]

_MOST_PARAMETERS = 2**29  # bytes
_MOST_AT_LENGTH = 2**21  # bytes of the operands with which the axis is tried at its own length
# kind of operands, whether vectors among the parameters have signs, lengths of slices
_ROUNDS: tuple[tuple[Draw, bool, tuple[int, ...]], ...] = (
    ("normal", False, (1, 3)),
    ("masks", False, (2, 5)),
    ("uneven", True, (1, 2)),
    ("binary", True, (3, 4)),
)
Check = Callable[[Drawn, Rows, tuple[int, ...]], None]


@dataclass(frozen=True)
class Independence:
    """An axis along which a module's forward is independent.

    `sliced(size, in_dims=dict(found.in_dims), out_dims=found.out_dims)` is a use of it. Keys are
    positions and names of forward's arguments; dimensions are negative. `length` is the axis's in
    the example.
    """

    in_dims: tuple[tuple[int | str, int], ...]
    out_dims: int | tuple[int, ...]
    length: int


@dataclass(frozen=True)
class Probed:
    """What a probe found: axes that are proven, and in words why others, or all, are not."""

    axes: tuple[Independence, ...]
    refused: str


def independent_axes(
    module: nn.Module, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
) -> tuple[Independence, ...]:
    """Every axis along which `module(*args, **kwargs)` is proven to be independent.

    Slice r of each output depends on slice r of the arguments that `in_dims` names, on all of the
    others, and on parameters. The fewest arguments that do are named. Of the arguments' tensors,
    which may be real, fake or meta, shapes and dtypes are read, and of integers and masks which
    values there are.

    An empty tuple where nothing is proven; `explain` says why. The proof holds for the mode that
    the module is in, train or eval, with dropout left out: a walk draws its numbers for each slice.
    Nothing is changed: not the module, nor gradients, nor random generators. A probe costs about
    thirty evaluations at small sizes for every axis, on one core 0.02 s for a small layer and 0.4 s
    for a transformer's of width 512, and eight bytes for each parameter.
    """
    return explain(module, args, kwargs).axes


def explain(
    module: nn.Module, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
) -> Probed:
    """`independent_axes`, with the reasons for what is not among them."""
    example = Example.of(args, kwargs or {})
    try:
        if not example.operands:
            raise RefusedError("none of its arguments is a tensor")
        if example.opaque():
            kinds = ", ".join(type(x).__name__ for x in example.opaque())
            raise RefusedError(f"tensors inside of a {kinds} can neither be cut nor drawn")
        with in_double(), torch.no_grad():
            return _Probe(module, example).found()
    except RefusedError as refused:
        return Probed((), str(refused))


class _Probe:
    """Sets of axes that nothing speaks against so far, and what does against others."""

    def __init__(self, module: nn.Module, example: Example) -> None:
        g = torch.Generator().manual_seed(0)
        twin = _copied(module)
        redraw_matrices(twin, g)
        redraw_vectors(twin, g, signed=False)
        self._sizes, self._runs = small_sizes(Runs(twin, example, g))
        self._runs.refuse_traces(self._sizes)
        self._dims: dict[Rows, tuple[int, ...]] = {}
        self._against: dict[int, tuple[int, str]] = {}  # by length: how far it came, and the reason

    def found(self) -> Probed:
        """All stages, each for those sets alone that passed the ones before."""
        self._look(self._drawn("normal"))
        told = 0
        for draw, signed, cuts in _ROUNDS:
            redraw_vectors(self._runs.module, self._runs.g, signed=signed)
            try:
                drawn = Drawn.of(self._runs, self._sizes, draw, cuts)
            except RefusedError:  # weights or inputs that it cannot take, such as negative ones
                continue
            told += drawn.tells
            self._keep(2, drawn, cuts_agree)
            self._keep(3, drawn, others_do_not_matter)
        if told < 2:
            raise RefusedError("its outputs are not finite for most random inputs")
        redraw_vectors(self._runs.module, self._runs.g, signed=False)
        self._keep(4, self._finite(), gradients_agree)
        for rows in list(self._dims):
            self._keep_if(5, rows, self._at_length)
        return self._probed()

    def _look(self, drawn: Drawn) -> None:
        """Find the sets whose slices are slices of all outputs, the fewest operands first."""
        for length in sorted(set(self._runs.example.axes().values()), reverse=True):
            for rows in candidates(self._runs.example, length):
                if self._has_less_than(rows):
                    continue
                try:
                    self._dims[rows] = out_dims_of(drawn, rows)
                except RefusedError as refused:
                    self._note(rows, 0 if refused.__cause__ else 1, refused)
        self._dims = {rows: d for rows, d in self._dims.items() if not self._has_less_than(rows)}

    def _has_less_than(self, rows: Rows) -> bool:
        """Whether fewer arguments do."""
        return any(set(one.in_dims) < set(rows.in_dims) for one in self._dims)

    def _keep(self, stage: int, drawn: Drawn, check: Check) -> None:
        for rows, dims in list(self._dims.items()):
            self._keep_if(stage, rows, lambda rows, dims=dims: check(drawn, rows, dims))

    def _keep_if(self, stage: int, rows: Rows, check: Callable[[Rows], None]) -> None:
        try:
            check(rows)
        except RefusedError as refused:
            self._note(rows, stage, refused)
            del self._dims[rows]

    def _note(self, rows: Rows, stage: int, refused: RefusedError) -> None:
        """Of all that is said about a length, what was said about the set that came furthest."""
        if stage > self._against.get(rows.length, (-1, ""))[0]:
            self._against[rows.length] = (stage, f"{dict(rows.in_dims)}: {refused}")

    def _at_length(self, rows: Rows) -> None:
        """Refused where slices of as many rows as the example has, or as fit, are dependent."""
        example = self._runs.example
        own = example.axes()
        thin = {axis: 2 if n < own[axis] else n for axis, n in self._sizes.items()}
        for others in (thin, self._sizes):
            one = example.num_bytes({**others, **dict.fromkeys(rows.axes, 1)})
            length = min(rows.length, _MOST_AT_LENGTH // max(one, 1))
            if length <= self._sizes[rows.axes[0]]:
                return
            try:
                drawn = self._drawn("normal", {**others, **dict.fromkeys(rows.axes, length)})
            except RefusedError:
                continue
            cuts_agree(drawn, rows, self._dims[rows])
            others_do_not_matter(drawn, rows, self._dims[rows])
            return
        raise RefusedError(f"it does not run with {length} rows")

    def _finite(self) -> Drawn:
        """Operands whose outputs are finite, all of them."""
        for draw in ("normal", "masks", "positive"):
            with suppress(RefusedError):
                drawn = self._drawn(draw)
                if all(x.isfinite().all() for x in drawn.outputs):
                    return drawn
        raise RefusedError("its outputs are not finite, so neither are its gradients")

    def _drawn(self, draw: Draw, sizes: Sizes | None = None) -> Drawn:
        return Drawn.of(self._runs, self._sizes if sizes is None else sizes, draw)

    def _probed(self) -> Probed:
        axes = tuple(
            Independence(rows.in_dims, dims[0] if len(set(dims)) == 1 else dims, rows.length)
            for rows, dims in self._dims.items()
        )
        proven = {one.length for one in axes}
        reasons = [
            f"length {length}, {reason}"
            for length, (_, reason) in self._against.items()
            if length not in proven
        ]
        if not axes and not reasons:
            reasons = ["none of its arguments has an axis to cut, of one length in all its tensors"]
        return Probed(axes, "; ".join(reasons))


def _copied(module: nn.Module) -> nn.Module:
    try:
        too_large = 8 * sum(x.numel() for x in module.parameters()) > _MOST_PARAMETERS
        copied = None if too_large else double_copy(module)
    except Exception as error:
        raise RefusedError(f"it cannot be copied: {type(error).__name__}: {error}") from error
    if copied is None:
        limit = _MOST_PARAMETERS // 2**20
        raise RefusedError(f"its parameters would take more than {limit} MiB in float64")
    return copied
