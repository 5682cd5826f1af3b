"""Copies of a model and of a batch, for running a step without a trace on the originals."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import keystr, tree_flatten_with_path

from sci_memeff.errors import BadConfigError
from sci_memeff.planning.out_of_memory import is_out_of_memory

__all__ = ["copied", "copied_batch", "same_state", "twin"]


def copied(model: nn.Module) -> nn.Module:
    """`model`, what its seams hold included, without gradients and without hooks on parameters.

    BadConfigError for a model without values, or one that Python cannot copy.
    """
    if any(x.is_meta for x in (*model.parameters(), *model.buffers())):
        raise BadConfigError(
            f"this {type(model).__name__} is on the meta device and has no values to compute with",
            mend="build it on a real device",
        )
    try:
        return copy.deepcopy(model)
    except (TypeError, RuntimeError, NotImplementedError) as error:
        if is_out_of_memory(error):
            raise
        raise BadConfigError(
            f"this {type(model).__name__} cannot be copied ({error})",
            mend="give the module inside of wrappers such as DDP, which can be",
        ) from error


def twin(model: nn.Module) -> nn.Module:
    """Modules of its own, with seams and buffers of their own, over the parameters of `model`."""
    return copy.deepcopy(model, {id(p): p for p in model.parameters()})


def same_state(model: nn.Module, other: nn.Module) -> None:
    """Have the buffers of `model` hold what those of `other` do, such as running statistics."""
    with torch.no_grad():
        for mine, theirs in zip(model.buffers(), other.buffers(), strict=True):
            mine.copy_(theirs)


def copied_batch(batch: Any, dtype: torch.dtype | None = None) -> tuple[Any, dict[str, Tensor]]:
    """A copy of any structure of tensors, and those in it that require a gradient, by their place.

    They are leaves in the copy. With `dtype`, all that is floating point comes in it.
    """
    copies = _Copies(dtype)
    with copies:
        found = copy.deepcopy(batch)
    paths = dict(_paths(found))
    wanted = [x for x in copies.made if x.requires_grad]
    names = (paths.get(id(x), f"[{k}]") for k, x in enumerate(wanted))
    return found, dict(zip(names, wanted, strict=True))


def _paths(batch: Any) -> Iterator[tuple[int, str]]:
    """Where tensors stand, as far as torch can look into the structure."""
    for path, leaf in tree_flatten_with_path(batch)[0]:
        if isinstance(leaf, Tensor):
            yield id(leaf), keystr(path)


class _Copies(TorchFunctionMode):
    """Has deep copies take any tensor: as a leaf, repetitions not written out."""

    def __init__(self, dtype: torch.dtype | None) -> None:
        super().__init__()
        self.made: list[Tensor] = []
        self._dtype = dtype

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is not Tensor.__deepcopy__:
            return func(*args, **(kwargs or {}))
        tensor, memo = args
        if id(tensor) not in memo:
            memo[id(tensor)] = self._copy(tensor)
            self.made.append(memo[id(tensor)])
        return memo[id(tensor)]

    def _copy(self, tensor: Tensor) -> Tensor:
        with torch._C.DisableTorchFunction(), torch.no_grad():
            once = _once(tensor.detach())
            dtype = self._dtype if once.is_floating_point() else None
            found = once.to(dtype, copy=True) if dtype else once.clone()
            return (
                found.expand_as(tensor) if found.shape != tensor.shape else found
            ).requires_grad_(tensor.requires_grad)


def _once(tensor: Tensor) -> Tensor:
    """Of dimensions that repeat one value (of stride 0), that value alone."""
    if tensor.layout != torch.strided:
        return tensor
    for dim, step in enumerate(tensor.stride()):
        if step == 0 and tensor.shape[dim] > 1:
            tensor = tensor.narrow(dim, 0, 1)
    return tensor
