"""Which of the tensors among a call's arguments are rows, by the names of the arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import Parameter, signature
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves

from sci_memeff.chunking.parameters import name_of
from sci_memeff.errors import BadWalkError

__all__ = ["InDims", "rows_among"]

InDims = tuple[tuple[str | int, int], ...]  # name or position of an argument, its dimension


def rows_among(
    forward: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], in_dims: InDims
) -> dict[int, int]:
    """Of each tensor that is a row its dimension, by its place among all the leaves of a call.

    An argument is meant by its name however it is given, and by its position too. A row of length
    1 beside longer ones broadcasts, so it is none. BadWalkError for an argument that `forward`
    does not take, and where no tensor is a row.
    """
    names = _positions_of(forward, in_dims)
    dims = {
        names[key] if isinstance(key, int) and key < len(names) else key: dim
        for key, dim in in_dims
    }
    keys = [*names[: len(args)], *range(len(names), len(args)), *kwargs]
    leaves = [
        (key, leaf)
        for key, value in zip(keys, [*args, *kwargs.values()], strict=True)
        for leaf in tree_leaves(value)
    ]
    found = {
        place: (leaf, dims[key])
        for place, (key, leaf) in enumerate(leaves)
        if key in dims and isinstance(leaf, Tensor)
    }
    if not found:
        raise BadWalkError(
            f"{name_of(forward)} is given no tensor among {', '.join(map(str, dims))}",
            mend="name in in_dims an argument that this call has",
        )
    longest = max(_length(leaf, dim) for leaf, dim in found.values())
    return {
        place: dim for place, (leaf, dim) in found.items() if not _length(leaf, dim) == 1 < longest
    }


def _positions_of(forward: Callable[..., Any], in_dims: InDims) -> list[str]:
    """The names of the positional arguments; BadWalkError where there is no such one at all."""
    parameters = signature(forward).parameters
    kinds = [parameter.kind for parameter in parameters.values()]
    names = [
        name
        for name, kind in zip(parameters, kinds, strict=True)
        if kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    ]
    for key, _ in in_dims:
        if isinstance(key, str):
            known = key in parameters or Parameter.VAR_KEYWORD in kinds
        else:
            known = key in range(len(names)) or Parameter.VAR_POSITIONAL in kinds
        if not known:
            raise BadWalkError(
                f"{name_of(forward)} takes no argument {key!r}, whose rows were to be sliced",
                mend=f"name in in_dims some of {', '.join(parameters)}",
            )
    return names


def _length(tensor: Tensor, dim: int) -> int:
    """Along that dimension; whether there is one, the walk says."""
    return tensor.shape[dim] if -tensor.ndim <= dim < tensor.ndim else 0
