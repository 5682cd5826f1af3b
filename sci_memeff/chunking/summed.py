"""A foreign module's forward that adds up over rows, such as messages over edges, in parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from sci_memeff._types import Forward
from sci_memeff.chunking.arguments import InDims, rows_among
from sci_memeff.chunking.parameters import name_of
from sci_memeff.chunking.slices import checked_size
from sci_memeff.errors import BadWalkError

__all__ = ["Summed", "summed"]


def summed(
    size: int, in_dims: Mapping[str | int, int], *, each: Forward, sums: Sequence[int] = (0,)
) -> Summed:
    """A `Forward` that calls a module once for every `size` rows, and adds up what it returns.

    `in_dims` says which arguments are rows, as for `sliced`. Of the tensors that the module
    returns, those at the places `sums` are sums over rows, without any constant; the others do not
    depend on rows at all, and are the first part's. Nothing here can tell if that is so.

    `each` is how a part is run: `recomputed()`, so that one part's inside alone is alive. The
    graph is then an ordinary one, which may be differentiated twice.

    Costs what of the module does not depend on rows once for every part. BadConfigError for a size
    below 1; BadWalkError, in the forward pass, for arguments that the module does not take, rows
    of several lengths, and results that are no such sums.
    """
    return Summed(size, tuple(in_dims.items()), each, tuple(sums))


@dataclass(frozen=True)
class Summed:
    """What `summed` returns: a value that two runs can compare and a file can keep."""

    size: int
    in_dims: InDims
    each: Forward
    sums: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        checked_size(self.size)

    def __call__(
        self, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Run `forward`, as `Forward` says."""
        leaves, spec = tree_flatten((args, kwargs))
        dims = rows_among(forward, args, kwargs, self.in_dims)
        lengths = {leaves[place].shape[dim] for place, dim in dims.items()}
        if len(lengths) > 1:
            raise BadWalkError(
                f"the rows of {name_of(forward)} have the lengths {sorted(lengths)}",
                mend="name in in_dims the dimension that all of them have in common",
            )
        # not narrow: its gradient would be as long as all rows, for every part
        parts = {place: leaves[place].split(self.size, dim) for place, dim in dims.items()}
        total: list[Any] = []
        for pieces in zip(*parts.values(), strict=True):
            for place, piece in zip(parts, pieces, strict=True):
                leaves[place] = piece
            some, kwargs_of_it = tree_unflatten(leaves, spec)
            found, returned = tree_flatten(self.each(forward, some, kwargs_of_it))
            total = self._added(total, found, forward) if total else found
        return tree_unflatten(total, returned)

    def _added(self, total: list[Any], found: list[Any], forward: Callable[..., Any]) -> list[Any]:
        places = [i for i, leaf in enumerate(total) if isinstance(leaf, Tensor)]
        if len(places) <= max(self.sums, default=0):
            raise BadWalkError(
                f"{name_of(forward)} returns {len(places)} tensors, of which those at "
                f"{', '.join(map(str, self.sums))} were to be added up",
                mend="count in `sums` from 0, in the order in which the module returns tensors",
            )
        for i in (places[n] for n in self.sums):
            if total[i].shape != found[i].shape:
                raise BadWalkError(
                    f"{name_of(forward)} returns {tuple(total[i].shape)} for some rows and "
                    f"{tuple(found[i].shape)} for others, which is no sum over them",
                    mend="use sliced() for a module that returns as many rows as it is given",
                )
            total[i] = total[i] + found[i]
        return total
