"""The proof that slices of one set of axes are independent, or what speaks against it.

Cutting: a slice alone gives the slice of the whole. Dependence: other rows may be anything.
Gradients: those of the slices add up to the whole's, those of inputs and parameters alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sci_memeff.chunking.probing.example import Sizes
from sci_memeff.chunking.probing.operand import Draw
from sci_memeff.chunking.probing.rows import Rows
from sci_memeff.chunking.probing.runs import RefusedError, Runs, largest, same

__all__ = ["Drawn", "cuts_agree", "gradients_agree", "others_do_not_matter", "out_dims_of"]

_CUT = 1e-10
_OTHERS = 1e-12
_GRADIENT = 1e-9


@dataclass(frozen=True)
class Drawn:
    """Operands, and what the whole module makes of them."""

    runs: Runs
    draw: Draw
    cuts: tuple[int, ...]  # lengths of slices to try
    tensors: list[Tensor]
    outputs: list[Tensor]

    @classmethod
    def of(cls, runs: Runs, sizes: Sizes, draw: Draw, cuts: tuple[int, ...] = (1, 5)) -> Drawn:
        """Drawn and called."""
        tensors = runs.drawn(sizes, draw)
        return cls(runs, draw, cuts, tensors, runs.outputs(tensors))

    @property
    def tells(self) -> bool:
        """Whether outputs are finite for the most part: where they are not, nothing shows."""
        return all(
            x.isfinite().double().mean() > 0.5 for x in self.outputs if x.numel() and _is_float(x)
        )

    def length(self, rows: Rows) -> int:
        """How many rows there are."""
        return self.lengths(rows)[0]

    def lengths(self, rows: Rows) -> list[int]:
        """The same of each tensor that is cut."""
        return [self.tensors[i].shape[d] for i, d in rows.axes]

    def refuse_other_answers(
        self, pieces: Sequence[Tensor], dims: Sequence[int], start: int, length: int
    ) -> None:
        """Refused where `pieces` are not the slice of the whole outputs."""
        for i, (piece, whole, dim) in enumerate(zip(pieces, self.outputs, dims, strict=True)):
            if not same(piece, whole.narrow(dim, start, length), _CUT, largest(whole)):
                raise RefusedError(
                    f"a slice alone gives other values than in the whole, in output {i}"
                )


def out_dims_of(drawn: Drawn, rows: Rows) -> tuple[int, ...]:
    """Along which dimension each output shrinks with the rows, once two of them are tried alone.

    Refused where an output does so along none or several, and where the values are others.
    """
    length = drawn.length(rows)
    if any(n != length for n in drawn.lengths(rows)):
        raise RefusedError("its axes are channels in one place and not in another")
    start = 1 + _below(length - 2, drawn) if length > 3 else length - 2
    pieces = drawn.runs.sliced(drawn.tensors, rows, start, 2)
    if len(pieces) != len(drawn.outputs):
        raise RefusedError("a slice gives another number of outputs")
    dims = tuple(
        _dim(piece, whole, length, i)
        for i, (piece, whole) in enumerate(zip(pieces, drawn.outputs, strict=True))
    )
    drawn.refuse_other_answers(pieces, dims, start, 2)
    return dims


def cuts_agree(drawn: Drawn, rows: Rows, dims: Sequence[int]) -> None:
    """Refused where a slice, from anywhere, gives other values alone."""
    length = drawn.length(rows)
    for size in drawn.cuts:
        if size < length:
            start = _below(length - size + 1, drawn)
            pieces = drawn.runs.sliced(drawn.tensors, rows, start, size)
            drawn.refuse_other_answers(pieces, dims, start, size)


def others_do_not_matter(drawn: Drawn, rows: Rows, dims: Sequence[int]) -> None:
    """Refused where some rows of outputs change when about half of the other rows are redrawn."""
    length = drawn.length(rows)
    order = torch.randperm(length, generator=drawn.runs.g)
    other, own = order[: (length + 1) // 2], order[(length + 1) // 2 :]
    tensors = list(drawn.tensors)
    sizes = {(i, d): n for i, x in enumerate(tensors) for d, n in _dims(x)}
    fresh = drawn.runs.drawn(sizes, drawn.draw)
    for i, d in rows.axes:
        tensors[i] = tensors[i].index_copy(d, other, fresh[i].index_select(d, other))
    found = drawn.runs.outputs(tensors)
    for i, (piece, whole, dim) in enumerate(zip(found, drawn.outputs, dims, strict=True)):
        before, after = whole.index_select(dim, own), piece.index_select(dim, own)
        if not same(after, before, _OTHERS, largest(whole)):
            raise RefusedError(f"rows of output {i} depend on other rows")


def gradients_agree(drawn: Drawn, rows: Rows, dims: Sequence[int]) -> None:
    """Refused where gradients of slices do not add up to those of the whole, or are not finite."""
    runs, length = drawn.runs, drawn.length(rows)
    with torch.enable_grad():
        tensors = [x.detach().requires_grad_(_is_float(x)) for x in drawn.tensors]
        leaves = [x for x in (*tensors, *runs.module.parameters()) if x.requires_grad]
        weights = [
            torch.randn(x.shape, dtype=x.dtype, generator=runs.g) if _is_float(x) else None
            for x in drawn.outputs
        ]
        whole = _gradients(runs.outputs(tensors), weights, leaves)
        some = length // 2
        halves = []
        for start, size in ((0, some), (some, length - some)):
            parts = [
                None if w is None else w.narrow(dim, start, size)
                for w, dim in zip(weights, dims, strict=True)
            ]
            halves.append(_gradients(runs.sliced(tensors, rows, start, size), parts, leaves))
    # gradients that are 0 but for rounding, as behind a softmax, are measured by all the others
    most = max(largest(x) for x in (*whole, *drawn.outputs))
    for one, rest, other in zip(*halves, whole, strict=True):
        if not other.sum().isfinite():
            raise RefusedError("its gradients are not finite")
        if not same(one + rest, other, _GRADIENT, max(largest(other), 1e-3 * most)):
            raise RefusedError("gradients of the slices do not add up to the whole's")


def _gradients(
    outputs: Sequence[Tensor], weights: Sequence[Tensor | None], leaves: Sequence[Tensor]
) -> list[Tensor]:
    pairs = [
        (x, w) for x, w in zip(outputs, weights, strict=True) if w is not None and x.requires_grad
    ]
    if not pairs:
        return [torch.zeros_like(x) for x in leaves]
    wanted, grads = zip(*pairs, strict=True)
    try:
        return list(
            torch.autograd.grad(wanted, leaves, grads, allow_unused=True, materialize_grads=True)
        )
    except Exception as error:
        raise RefusedError(f"its backward pass raises {type(error).__name__}: {error}") from error


def _dim(piece: Tensor, whole: Tensor, length: int, i: int) -> int:
    if piece.ndim == whole.ndim:
        changed = [d for d in range(-whole.ndim, 0) if piece.shape[d] != whole.shape[d]]
        if len(changed) == 1:
            (dim,) = changed
            if (piece.shape[dim], whole.shape[dim]) == (2, length):
                return dim
    raise RefusedError(
        f"output {i} is {tuple(piece.shape)} of 2 rows and {tuple(whole.shape)} of {length}"
    )


def _dims(tensor: Tensor) -> list[tuple[int, int]]:
    return [(d, tensor.shape[d]) for d in range(-tensor.ndim, 0)]


def _is_float(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _below(limit: int, drawn: Drawn) -> int:
    return int(torch.randint(max(limit, 1), (), generator=drawn.runs.g))
