"""The independent axes of all modules of a model, as a step calls them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._pytree import tree_flatten, tree_map_only

from sci_memeff.chunking.probing.probe import Independence, Probed, explain
from sci_memeff.measure import simulate

__all__ = ["axes_of_calls"]

Batch = TypeVar("Batch")
Signature = tuple[Any, ...]


def axes_of_calls(
    model: nn.Module,
    step: Callable[[nn.Module, Batch], Any],
    batch: Batch,
    *,
    names: Collection[str] | None = None,
) -> dict[str, Probed]:
    """For each module that `step(model, batch)` calls, or those of `names`, what a probe finds.

    The forward pass is simulated, as `simulate` does it, and raises what that raises. Of a module
    that is called with several shapes, an axis stands if it is proven for all of them, with the
    longest length; arguments must be given in one way, by position or by name. Modules of equal
    structure, such as the blocks of a stack, are probed once.
    """
    calls = _recorded(model, step, batch, names)
    known: dict[Any, Probed] = {}
    found = {}
    for name, examples in calls.items():
        module = model.get_submodule(name)
        structure = _structure(module)
        for signature, example in examples.items():
            if (structure, signature) not in known:
                known[structure, signature] = explain(module, *example.arguments())
        found[name] = _for_all([known[structure, signature] for signature in examples])
    return found


@dataclass(frozen=True)
class _Shape:
    """In place of a tensor."""

    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True)
class _Call:
    """The arguments of a call, with shapes for tensors."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @classmethod
    def of(cls, args: Any, kwargs: Any) -> _Call:
        """Without the tensors, which would stay alive."""
        return cls(
            *tree_map_only(Tensor, lambda x: _Shape(tuple(x.shape), x.dtype), (args, kwargs))
        )

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """With meta tensors."""

        def tensor(x: _Shape) -> Tensor:
            return torch.empty(x.shape, dtype=x.dtype, device="meta")

        return tree_map_only(_Shape, tensor, (self.args, self.kwargs))

    def signature(self) -> Signature:
        """What calls that need one probe have in common."""
        leaves, spec = tree_flatten((self.args, self.kwargs))
        return (str(spec), *(x if isinstance(x, _Shape) else _plain(x) for x in leaves))


def _recorded(
    model: nn.Module,
    step: Callable[[nn.Module, Any], Any],
    batch: Any,
    names: Collection[str] | None,
) -> dict[str, dict[Signature, _Call]]:
    """One call for each signature, by the name of the module."""
    calls: dict[str, dict[Signature, _Call]] = {}

    def recording(copied: nn.Module, batch: Any) -> None:
        with ExitStack() as hooks:
            for name, module in copied.named_modules():
                if names is None or name in names:
                    hooks.enter_context(
                        module.register_forward_pre_hook(_note(name), with_kwargs=True)
                    )
            step(copied, batch)

    def _note(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def note(module: nn.Module, args: Any, kwargs: Any) -> None:
            call = _Call.of(args, kwargs)
            calls.setdefault(name, {}).setdefault(call.signature(), call)

        return note

    simulate(model, recording, batch)
    return calls


def _for_all(probed: list[Probed]) -> Probed:
    """Axes that stand in all of them."""
    first, *others = probed
    if not others:
        return first
    axes = tuple(
        Independence(one.in_dims, one.out_dims, max(x.length for x in same))
        for one in first.axes
        if len(same := [one, *_alike(one, others)]) == len(probed)
    )
    return Probed(axes, "; ".join(dict.fromkeys(x.refused for x in probed if x.refused)))


def _alike(one: Independence, others: list[Probed]) -> Iterator[Independence]:
    for probed in others:
        yield from (
            x
            for x in probed.axes
            if set(x.in_dims) == set(one.in_dims) and x.out_dims == one.out_dims
        )


def _structure(module: nn.Module) -> tuple[Any, ...]:
    """What modules that need one probe have in common: all but the values of floats."""
    return tuple(
        (
            name,
            type(part),
            *((key, _plain(value)) for key, value in vars(part).items() if key != "_modules"),
        )
        for name, part in module.named_modules()
    )


def _plain(value: Any) -> Any:
    """A value that is equal where `value` is surely the same."""
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes, torch.dtype)):
        return type(value), value
    if isinstance(value, Tensor):
        return tuple(value.shape), value.dtype, _content(value)
    if isinstance(value, dict):
        return type(value), tuple((_plain(k), _plain(v)) for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return type(value), tuple(_plain(x) for x in value)
    if isinstance(value, (set, frozenset)):
        return type(value), frozenset(_plain(x) for x in value)
    if is_dataclass(value):
        return type(value), tuple(_plain(getattr(value, field.name)) for field in fields(value))
    return id(value)  # which lives as long as the module or the call that holds it


def _content(tensor: Tensor) -> Any:
    """Of integers and booleans, which are no random numbers to a probe."""
    known = not isinstance(tensor, FakeTensor) and not tensor.is_meta
    if not known or tensor.dtype.is_floating_point or tensor.dtype.is_complex:
        return None
    return hashlib.sha256(tensor.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
