"""The parameters that a walked function reads: finding them, and standing in for them.

A gradient is lost without a word when a function reads a tensor that nobody knows of. So it is
looked for: in a plain function's closure beforehand, and in the graph of the first slice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge

from sci_memeff.errors import BadWalkError

__all__ = ["MEND", "Places", "find_parameters", "name_of", "refuse_strangers"]

MEND = (
    "give it among `shared`, or make the function a method of the nn.Module whose parameter it is"
)


@dataclass(frozen=True)
class Places:
    """Where each of some parameters stands: in which modules, under which names."""

    slots: tuple[tuple[tuple[nn.Module, str], ...], ...]

    @contextmanager
    def holding(self, stand_ins: Sequence[Tensor]) -> Iterator[None]:
        """Have `stand_ins` read in place of the parameters.

        Gradients with respect to a parameter itself would run its hooks once a slice. And what the
        module held may be gone: `torch.func.functional_call` puts it there for the call alone.
        """
        before = [[module._parameters[name] for module, name in slots] for slots in self.slots]
        try:
            for slots, stand_in in zip(self.slots, stand_ins, strict=True):
                for module, name in slots:
                    module._parameters[name] = stand_in  # pyright: ignore[reportArgumentType]
            yield
        finally:
            for slots, held in zip(self.slots, before, strict=True):
                for (module, name), parameter in zip(slots, held, strict=True):
                    module._parameters[name] = parameter


def find_parameters(fn: Callable[..., Any]) -> tuple[list[Tensor], Places]:
    """What `fn`'s module holds that requires a gradient, shared parameters once.

    BadWalkError where `fn` belongs to no module and reads something that requires a gradient.
    """
    module = _module_of(fn)
    if module is None:
        if torch.is_grad_enabled():
            _refuse_readers(fn)
        return [], Places(())
    tensors: list[Tensor] = []
    slots: dict[int, list[tuple[nn.Module, str]]] = {}
    for part in _parts(module):
        for name, parameter in part._parameters.items():
            if parameter is None or not parameter.requires_grad:
                continue
            if id(parameter) not in slots:
                tensors.append(parameter)
            slots.setdefault(id(parameter), []).append((part, name))
    return tensors, Places(tuple(tuple(found) for found in slots.values()))


def refuse_strangers(
    fn: Callable[..., Any], edges: Iterable[GradientEdge], known: Iterable[Tensor]
) -> None:
    """BadWalkError where the graph behind `edges` ends in a leaf that is not among `known`."""
    leaves = {id(tensor) for tensor in known}
    stack = [edge.node for edge in edges]
    seen = set(stack)
    while stack:
        node = stack.pop()
        if type(node).__name__ == "AccumulateGrad":
            leaf = node.variable  # pyright: ignore[reportAttributeAccessIssue]
            if id(leaf) not in leaves and leaf.numel():  # of no elements no gradient is lost
                raise BadWalkError(
                    f"{name_of(fn)} reads a {leaf.dtype} tensor of shape {tuple(leaf.shape)} that "
                    "requires a gradient and is none of its arguments, nor a parameter of its "
                    "module read from there",
                    mend=MEND,
                )
            continue
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                stack.append(following)


def name_of(fn: Callable[..., Any]) -> str:
    """How messages call `fn`."""
    owner = getattr(fn, "__self__", None)
    name = getattr(fn, "__qualname__", type(fn).__name__)
    return name if owner is None else f"{type(owner).__name__}.{fn.__name__}"


def _module_of(fn: Any) -> nn.Module | None:
    """The module that `fn` is or belongs to; wrappers such as torch.compile's are looked into."""
    while not isinstance(fn, nn.Module):
        owner = getattr(fn, "__self__", None)
        if isinstance(owner, nn.Module):
            return owner
        if isinstance(fn, partial):
            fn = fn.func
        elif owner is None and hasattr(fn, "__wrapped__"):
            fn = fn.__wrapped__
        else:
            return None
    return fn


def _parts(module: nn.Module) -> Iterator[nn.Module]:
    """Each of `module.modules()`, without the names that it makes on the way."""
    stack, seen = [module], {module}
    while stack:
        part = stack.pop()
        yield part
        for child in part._modules.values():
            if child is not None and child not in seen:
                seen.add(child)
                stack.append(child)


def _refuse_readers(fn: Callable[..., Any]) -> None:
    for name, value in _reads(fn):
        what = _requires_gradient(value)
        if what is not None:
            raise BadWalkError(
                f"{name_of(fn)} reads {name}, {what}, which is none of its arguments: its "
                "gradient would be lost",
                mend=MEND,
            )


def _reads(fn: Any) -> Iterator[tuple[str, Any]]:
    """What a function reads besides its arguments, by name."""
    if isinstance(fn, partial):
        yield from ((f"its argument {i}", value) for i, value in enumerate(fn.args))
        yield from fn.keywords.items()
        yield from _reads(fn.func)
    elif isinstance(fn, MethodType):
        yield from ((f"self.{k}", v) for k, v in getattr(fn.__self__, "__dict__", {}).items())
        yield from _reads(fn.__func__)
    elif isinstance(fn, FunctionType):
        yield from _closure(fn)
        yield from (fn.__kwdefaults__ or {}).items()
        yield from ((f"default {i}", value) for i, value in enumerate(fn.__defaults__ or ()))
        yield from ((k, fn.__globals__[k]) for k in fn.__code__.co_names if k in fn.__globals__)


def _closure(fn: FunctionType) -> Iterator[tuple[str, Any]]:
    """The variables of enclosing functions that `fn` reads, and those that such ones read."""
    functions, seen = [fn], {fn}
    while functions:
        one = functions.pop()
        for name, cell in zip(one.__code__.co_freevars, one.__closure__ or (), strict=True):
            try:
                value = cell.cell_contents
            except ValueError:  # not bound yet
                continue
            yield name, value
            if isinstance(value, FunctionType) and value not in seen:
                functions.append(value)
                seen.add(value)


def _requires_gradient(value: Any) -> str | None:
    """What requires a gradient in `value`, or one level into it, in words."""
    inside = value.values() if isinstance(value, dict) else value
    many = isinstance(value, (dict, list, tuple))
    for each in tuple(inside) if many else (value,):
        held = each.__self__ if isinstance(each, MethodType) else each
        if isinstance(held, nn.Module) and any(p.requires_grad for p in held.parameters()):
            return f"a {type(held).__name__} whose parameters require gradients"
        if isinstance(held, Tensor) and held.requires_grad:
            return f"a tensor of shape {tuple(held.shape)} that requires a gradient"
    return None
