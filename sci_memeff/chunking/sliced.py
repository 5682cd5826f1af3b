"""A foreign module's forward, walked: which of its arguments are rows is said from outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch._compile import _disable_dynamo  # unlike the public one, imports no compiler yet
from torch.utils._pytree import TreeSpec, tree_flatten, tree_leaves, tree_unflatten

from sci_memeff.chunking.arguments import InDims, rows_among
from sci_memeff.chunking.parameters import name_of
from sci_memeff.chunking.slices import checked_size
from sci_memeff.chunking.walk import walk
from sci_memeff.errors import BadWalkError

__all__ = ["Sliced", "sliced"]


def sliced(
    size: int, in_dims: Mapping[str | int, int], out_dims: int | Sequence[int] = -2
) -> Sliced:
    """A `Forward` that takes `size` rows at a time, forwards and backwards; see `walk`.

    `in_dims` says which arguments are rows, by name or by position, and along which dimension:
    every tensor in them is sliced. One that is not given, or None, is left out, and a row of
    length 1 beside longer ones serves every slice. All other tensors among the arguments are
    shared by the slices. `out_dims` are those of the tensors that the module returns, in order:
    one for all, or one for each. Dimensions are negative.

    BadConfigError for a size below 1; BadWalkError, in the forward pass, for an argument that the
    module does not take, and for whatever cannot be walked.

    A module that returns tensors of which one has no such rows, such as a sum over them, cannot be
    walked, and neither can one whose rows depend on one another, which nothing here can tell.
    """
    dims = out_dims if isinstance(out_dims, int) else tuple(out_dims)
    return Sliced(size, tuple(in_dims.items()), dims)


@dataclass(frozen=True)
class Sliced:
    """What `sliced` returns: a value that two runs can compare and a file can keep.

    The module may return a tensor, or tuples, lists and dicts of tensors and None. Its parameters
    and all its arguments get their gradients. Buffers that it writes are refused: what it writes
    depends on all rows.
    """

    size: int
    in_dims: InDims
    out_dims: int | tuple[int, ...] = -2

    def __post_init__(self) -> None:
        checked_size(self.size)

    @_disable_dynamo  # compiled twice, a slice could draw other numbers when recomputed
    def __call__(
        self, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Run `forward`, as `Forward` says."""
        leaves, spec = tree_flatten((args, kwargs))
        dims = rows_among(forward, args, kwargs, self.in_dims)
        shared = [i for i, x in enumerate(leaves) if isinstance(x, Tensor) and i not in dims]
        run = _Run(forward, leaves, spec, [*dims, *shared])
        found = walk(
            run,
            rows=[leaves[i] for i in dims],
            shared=[leaves[i] for i in shared],
            in_dims=list(dims.values()),
            out_dims=self.out_dims,
            size=self.size,
        )
        return run.rebuilt(found)


class _Run:
    """A module's forward as a function of the tensors among its arguments, in an order."""

    __name__ = "forward"

    def __init__(
        self, forward: Callable[..., Any], leaves: list[Any], spec: TreeSpec, order: list[int]
    ) -> None:
        self.__self__ = getattr(forward, "__self__", None)
        self._forward = forward
        # not the tensors: the walk keeps those
        self._leaves = [None if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        self._spec = spec
        self._order = order
        self._returned: TreeSpec | None = None
        self._is_tensor: list[bool] = []

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        leaves = list(self._leaves)
        for place, tensor in zip(self._order, tensors, strict=True):
            leaves[place] = tensor
        args, kwargs = tree_unflatten(leaves, self._spec)
        if self._returned is not None:
            found = tree_leaves(self._forward(*args, **kwargs))
        else:
            before = self._buffers()
            found, self._returned = tree_flatten(self._forward(*args, **kwargs))
            self._check(found, before)
            self._is_tensor = [isinstance(leaf, Tensor) for leaf in found]
        return tuple(leaf for leaf in found if isinstance(leaf, Tensor))

    def rebuilt(self, tensors: Sequence[Tensor]) -> Any:
        """`tensors` as the module returned them."""
        assert self._returned is not None
        each = iter(tensors)
        leaves = [next(each) if is_tensor else None for is_tensor in self._is_tensor]
        return tree_unflatten(leaves, self._returned)

    def _check(self, found: list[Any], before: list[tuple[int, int]]) -> None:
        if before != self._buffers():
            raise BadWalkError(
                f"{name_of(self)} writes to its module's buffers, once for every slice",
                mend="walk it in eval() mode, or walk modules within it that write to none",
            )
        kinds = [type(leaf).__name__ for leaf in found if not isinstance(leaf, Tensor)]
        if len(kinds) == len(found) or set(kinds) - {"NoneType"}:
            raise BadWalkError(
                f"{name_of(self)} returns {', '.join(kinds) or 'nothing'}, which cannot be joined",
                mend="walk a module that returns tensors, in tuples, lists and dicts, or None",
            )

    def _buffers(self) -> list[tuple[int, int]]:
        """Which buffers there are, and how often each was written to."""
        module = self.__self__
        buffers = module.buffers() if isinstance(module, nn.Module) else ()
        return [(id(buffer), buffer._version) for buffer in buffers]
