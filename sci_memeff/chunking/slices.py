"""Cutting rows into slices, and joining what each slice gives into whole outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from sci_memeff.errors import BadConfigError, BadWalkError

__all__ = ["Cut", "Joined", "abridged", "checked_size", "cut"]


@dataclass(frozen=True)
class Cut:
    """Along which dimension each row is cut, and into slices of how many."""

    dims: tuple[int, ...]
    length: int
    size: int

    @property
    def is_whole(self) -> bool:
        """Whether there is one slice alone."""
        return self.length <= self.size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Start and length of every slice; an empty axis has a single, empty one."""
        starts = range(0, max(self.length, 1), self.size)
        is_ragged = self.length % self.size > 0
        alike = len(starts) - 1 - is_ragged  # those after the first that are as long
        for i, start in enumerate(starts):
            if _repeats is None or alike < 2 or i == 0 or (is_ragged and i == len(starts) - 1):
                yield start, min(self.size, self.length - start)
            elif i == 1:
                with _repeats(alike):
                    yield start, self.size


_repeats: Callable[[int], AbstractContextManager[None]] | None = None


@contextmanager
def abridged(repeats: Callable[[int], AbstractContextManager[None]]) -> Iterator[None]:
    """Take of each walk the first slice, the second, and a last shorter one; in this process.

    For simulations: on tensors without values, all slices of a length but the first do the same.
    The second one runs inside `repeats(times)`, for it stands for so many.
    """
    global _repeats
    before, _repeats = _repeats, repeats
    try:
        yield
    finally:
        _repeats = before


def checked_size(size: int) -> int:
    """`size`, or BadConfigError where it is no number of rows."""
    if size < 1:
        raise BadConfigError(
            f"a walk takes at least one row at a time, and its size is {size}",
            mend="give a size of 1 or more; one beyond the axis takes all rows at once",
        )
    return size


def cut(rows: Sequence[Tensor], in_dims: int | Sequence[int], size: int) -> Cut:
    """How to cut `rows` into slices of `size`; BadWalkError where their axes do not agree."""
    checked_size(size)
    dims = (in_dims,) * len(rows) if isinstance(in_dims, int) else tuple(in_dims)
    if not rows or len(dims) != len(rows):
        raise BadWalkError(
            f"there are {len(rows)} rows and {len(dims)} in_dims",
            mend="give at least one row, and one dimension for all of them or one for each",
        )
    for i, (row, dim) in enumerate(zip(rows, dims, strict=True)):
        _check_dim(dim, row, f"in_dims for rows[{i}]")
    lengths = [row.shape[dim] for row, dim in zip(rows, dims, strict=True)]
    if any(length != lengths[0] for length in lengths):
        raise BadWalkError(
            f"the rows are of different lengths, {lengths}, along the dimensions {list(dims)}",
            mend="let in_dims name the same axis in every row; what lacks it belongs in shared",
        )
    return Cut(dims, lengths[0], size)


def _check_dim(dim: int, tensor: Tensor, name: str) -> None:
    if not -tensor.ndim <= dim < 0:
        raise BadWalkError(
            f"{name} is {dim}, and the shape is {tuple(tensor.shape)}",
            mend=f"count dimensions from the end, from -1 to {-tensor.ndim}: leading batch "
            "dimensions are then free",
        )


class Joined:
    """Outputs that are written slice by slice into tensors made when the first slice is known."""

    def __init__(self, cut: Cut, out_dims: int | Sequence[int]) -> None:
        self._cut = cut
        self._out_dims = out_dims
        self._single = False
        self._outputs: list[Tensor] = []
        self.dims: tuple[int, ...] = ()

    def write(self, found: Any, start: int, length: int) -> None:
        """Take what the slice of `length` rows from `start` gave."""
        pieces = as_tensors(found)
        if start == 0:
            self._single = isinstance(found, Tensor)
            self.dims = self._checked_dims(pieces)
        self._check(pieces, length)
        if self._cut.is_whole:
            self._outputs = pieces
            return
        for i, (piece, dim) in enumerate(zip(pieces, self.dims, strict=True)):
            if start == 0:
                shape = (*piece.shape[:dim], self._cut.length, *piece.shape[dim:][1:])
                self._outputs.append(piece.new_empty(shape))
            self._outputs[i].narrow(dim, start, length).copy_(piece)

    def result(self, apart_from: Sequence[Tensor] = ()) -> Tensor | tuple[Tensor, ...]:
        """A tensor or a tuple, as the function returned; no view, nor any part of `apart_from`."""
        if self._cut.is_whole and apart_from:
            taken = {tensor.untyped_storage()._cdata for tensor in apart_from}
            self._outputs = [
                x.clone() if x.untyped_storage()._cdata in taken else x.detach()
                for x in self._outputs
            ]
        return self._outputs[0] if self._single else tuple(self._outputs)

    def _checked_dims(self, pieces: list[Tensor]) -> tuple[int, ...]:
        given = self._out_dims
        dims = (given,) * len(pieces) if isinstance(given, int) else tuple(given)
        if len(dims) != len(pieces):
            raise BadWalkError(
                f"the function returns {len(pieces)} tensors, and there are {len(dims)} out_dims",
                mend="give one dimension for all outputs, or one for each",
            )
        for i, (piece, dim) in enumerate(zip(pieces, dims, strict=True)):
            _check_dim(dim, piece, f"out_dims for output {i}")
        return dims

    def _go_on_with(self, pieces: list[Tensor]) -> bool:
        return len(pieces) == len(self.dims) and all(
            _but(piece, dim) == _but(whole, dim)
            for piece, whole, dim in zip(pieces, self._outputs, self.dims, strict=True)
        )

    def _check(self, pieces: list[Tensor], length: int) -> None:
        if self._outputs and not self._go_on_with(pieces):
            raise BadWalkError(
                f"a slice gave {[(tuple(p.shape), p.dtype) for p in pieces]}, which cannot be "
                f"joined to {[(tuple(w.shape), w.dtype) for w in self._outputs]}",
                mend="let the function's outputs differ along out_dims alone",
            )
        for i, (piece, dim) in enumerate(zip(pieces, self.dims, strict=True)):
            if piece.shape[dim] != length:
                raise BadWalkError(
                    f"output {i}, {tuple(piece.shape)}, of a slice of {length} rows has "
                    f"{piece.shape[dim]} along dimension {dim}",
                    mend="name in out_dims the axis that the rows have in each output; an output "
                    "without one, such as a sum over rows, cannot be walked",
                )


def _but(tensor: Tensor, dim: int) -> tuple[Any, ...]:
    """Everything that the slices of an output have in common."""
    return (tensor.dtype, *tensor.shape[:dim], *tensor.shape[dim:][1:])


def as_tensors(found: Any) -> list[Tensor]:
    """The outputs of a slice, one or several; BadWalkError where they are no tensors."""
    pieces = [found] if isinstance(found, Tensor) else found
    if not isinstance(pieces, (tuple, list)) or not all(isinstance(p, Tensor) for p in pieces):
        raise BadWalkError(
            f"the function returns {_described(found)}",
            mend="let it return a tensor or a tuple of tensors",
        )
    return list(pieces)


def _described(found: Any) -> str:
    if isinstance(found, (tuple, list)):
        return f"a {type(found).__name__} of {', '.join(type(x).__name__ for x in found)}"
    return f"a {type(found).__name__}"
