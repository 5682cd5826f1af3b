"""Any module's forward, computed again in the backward pass; only its arguments are kept.

Costs one more evaluation of the module. What it keeps for its backward pass is there while that
module alone is differentiated.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from threading import get_ident
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn
from torch._compile import _disable_dynamo  # unlike the public one, imports no compiler yet
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten
from torch.utils.checkpoint import checkpoint

from sci_memeff.checkpointing.buffers import Buffers
from sci_memeff.checkpointing.shelf import Shelf
from sci_memeff.checkpointing.spared import Spared, Sparing
from sci_memeff.checkpointing.stores import ON_DEVICE, Device, Store

__all__ = ["Recomputed", "recomputed"]


def recomputed(keep: Store = ON_DEVICE, spare: Spared = "nothing") -> Recomputed:
    """A `Forward` that runs a module once more in the backward pass instead of keeping its inside.

    `keep` is where the tensors among its arguments live until then; modules with equal `keep`
    move a tensor that they share once, and fetch ahead as the segments of a stack do. `spare`
    names operations whose results are kept; see `in_segments`.

    BadConfigError for an unknown `spare`, or, in the forward pass, where no operation is one to
    spare.
    """
    return Recomputed(keep, spare)


@dataclass(frozen=True)
class Recomputed:
    """What `recomputed` returns: a value that two runs can compare and a file can keep.

    Arguments and results are what the module takes and gives: tensors, other things, and lists,
    tuples and dicts of them. Outputs and gradients are bitwise the plain ones: autocast and the
    generators stand in the recomputation as they stood, and buffers hold what they held; what
    the module writes to buffers is written once. What else it changes when it is called, such as
    a counter, it changes again.
    """

    keep: Store = ON_DEVICE
    spare: Spared = "nothing"

    def __post_init__(self) -> None:
        Sparing(self.spare)

    def __call__(
        self, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Run `forward`, as `Forward` says."""
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        plain = isinstance(self.keep, Device) and self.spare == "nothing"
        if torch.compiler.is_compiling() and plain and _is_simple(forward):
            return checkpoint(forward, *args, use_reentrant=False, **kwargs)
        return _recomputed(self, forward, args, kwargs)


def _is_simple(forward: Callable[..., Any]) -> bool:
    """Whether torch's own checkpoint, which the compiler knows, does the same: no buffers."""
    try:  # as the compiler follows it: it takes getattr with a default for a miss
        owner = forward.__self__  # pyright: ignore[reportFunctionMemberAccess]
    except AttributeError:
        return True
    scripted = [part for part in owner.modules() if isinstance(part, torch.jit.ScriptModule)]
    return not scripted and not list(owner.buffers())


@_disable_dynamo  # what stores, buffers and spared operations take is no graph's
def _recomputed(
    use: Recomputed, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    leaves, spec = tree_flatten((args, kwargs))
    run = _Run(forward, leaves, spec)
    # each once: what comes back from a shelf is another object each time, and attention asks
    # whether its key and its value are one and the same
    tensors = list({id(x): x for x in leaves if isinstance(x, Tensor)}.values())
    shelf = _shelf(use.keep)
    sparing = Sparing(use.spare)
    with shelf.keeping() if shelf else nullcontext():
        # tensors are given one by one, which is how torch keeps them through `shelf`
        found = checkpoint(
            run,
            *tensors,
            use_reentrant=False,
            context_fn=sparing.context_fn,
            early_stop=not run.is_scripted,
        )
    run.forget()
    sparing.refuse_in_vain()
    return found


class _Run:
    """A forward as a function of the tensors among its arguments, to be called twice or more."""

    def __init__(self, forward: Callable[..., Any], leaves: list[Any], spec: TreeSpec) -> None:
        self._forward = forward
        self._spec = spec
        places: dict[int, int] = {}
        self._places = [
            places.setdefault(id(leaf), len(places)) if isinstance(leaf, Tensor) else None
            for leaf in leaves
        ]
        self._others = [leaf for leaf in leaves if not isinstance(leaf, Tensor)]
        owner = getattr(forward, "__self__", None)
        self._buffers = Buffers(owner) if isinstance(owner, nn.Module) else None
        # its interpreter takes the exception that stops a recomputation early for an error
        self.is_scripted = isinstance(owner, nn.Module) and any(
            isinstance(part, torch.jit.ScriptModule) for part in owner.modules()
        )
        self._again = False

    def forget(self) -> None:
        """The forward pass is over."""
        self._again = True
        if self._buffers:
            self._buffers.forget_others()

    def __call__(self, *tensors: Tensor) -> Any:
        others = iter(self._others)
        leaves = [next(others) if place is None else tensors[place] for place in self._places]
        args, kwargs = tree_unflatten(leaves, self._spec)
        with self._buffers.as_before() if self._again and self._buffers else nullcontext():
            return self._forward(*args, **kwargs)


# Of each store and thread, the one that graphs which are still alive keep their tensors on.
_shelves: WeakValueDictionary[tuple[Store, int], Shelf] = WeakValueDictionary()


def _shelf(store: Store) -> Shelf | None:
    """One for all modules of a forward pass: whoever has saved tensors on it keeps it."""
    key = (store, get_ident())
    shelf = _shelves.get(key) or store.opened(())
    if shelf is not None:
        _shelves[key] = shelf
    return shelf
