"""Casts around one module: of what it is given, of the parameters it reads, of what it returns.

Parameters stay as they are, the masters: while a module runs, casts of them stand in their places,
so gradients reach the masters in the masters' own dtype, and every optimizer works. A cast keeps
nothing for its backward pass; the operation that reads it may.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812 the name everybody knows it by
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from sci_memeff.errors import PrecisionError
from sci_memeff.precision.norms import adds_up_in_half, layer_norm

__all__ = [
    "DTYPES",
    "Computed",
    "Dtype",
    "as_dtype",
    "name_of",
    "reading_parameters",
    "without_autocast",
]

Dtype = Literal["float64", "float32", "bfloat16"]
DTYPES: dict[Dtype, torch.dtype] = {
    "float64": torch.float64,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
}


@dataclass(frozen=True, kw_only=True)
class Computed:
    """A `Forward` that runs a module in a precision; what is None is left as it comes.

    `inputs` is the dtype that floating-point tensors among the arguments are cast to, in tuples,
    lists and dicts too, and `parameters` that of the module's own parameters; "inputs" is that of
    its first argument, so that statistics of a float32 stream are in float32, and no copy of it is
    made. `gives` is the dtype that the module has to return, which is checked, and `outputs` the
    one that results are cast to. Autocast is off inside, where it would overrule this.

    PrecisionError, in the forward pass, for a result in another dtype than `gives`.
    """

    inputs: Dtype | None = None
    parameters: Dtype | Literal["inputs"] | None = None
    gives: Dtype | None = None
    outputs: Dtype | None = None

    def __call__(
        self, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Run `forward`, as `Forward` says."""
        if self.inputs is not None:
            dtype = DTYPES[self.inputs]
            args, kwargs = as_dtype(args, dtype), as_dtype(kwargs, dtype)
        own = self._of_parameters(args, kwargs)
        with without_autocast(args, kwargs):
            if own is None:
                found = forward(*args, **kwargs)
            else:
                found = _reading(forward, own, args, kwargs)
        if self.gives is not None:
            _check(found, DTYPES[self.gives], forward)
        return found if self.outputs is None else as_dtype(found, DTYPES[self.outputs])

    def _of_parameters(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.dtype | None:
        if self.parameters is None:
            return None
        if self.parameters != "inputs":
            return DTYPES[self.parameters]
        return next((x.dtype for x in _tensors(args, kwargs) if x.is_floating_point()), None)


def as_dtype(values: Any, dtype: torch.dtype) -> Any:
    """The same structure, its floating-point tensors in `dtype`."""
    if isinstance(values, Tensor):
        return values.to(dtype) if values.is_floating_point() else values
    if type(values) is tuple:
        return tuple([as_dtype(value, dtype) for value in values])
    if not isinstance(values, (dict, list, tuple)) or not values:
        return values
    return tree_map(lambda x: as_dtype(x, dtype) if isinstance(x, Tensor) else x, values)


def _reading(
    forward: Callable[..., Any], dtype: torch.dtype, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """`forward` of the arguments, where its module reads its own parameters in `dtype`.

    What the commonest layers do is written out: it is faster, and the compiler takes it inside of
    a recomputation, where it takes nothing that changes a module.
    """
    module, fn = _module_of(forward), _function_of(forward)
    if fn is nn.Linear.forward and len(args) == 1:
        return F.linear(args[0], *_cast(module, dtype))
    if fn is nn.LayerNorm.forward and len(args) == 1:
        shape: Any = module.normalized_shape
        if dtype == args[0].dtype and adds_up_in_half(args[0]):
            return layer_norm(args[0], shape, module.weight, module.bias, module.eps)  # type: ignore[arg-type]
        return F.layer_norm(args[0], shape, *_cast(module, dtype), module.eps)  # type: ignore[arg-type]
    with reading_parameters(forward, dtype):
        return forward(*args, **kwargs)


def _function_of(forward: Callable[..., Any]) -> Any:
    """The class's, where it is a method."""
    try:  # as the compiler follows it: it takes getattr with a default for a miss
        return forward.__func__  # type: ignore[attr-defined]
    except AttributeError:
        return None


def _cast(module: nn.Module, dtype: torch.dtype) -> tuple[Any, Any]:
    weight, bias = module.weight, module.bias
    return (
        weight.to(dtype) if isinstance(weight, Tensor) else None,
        bias.to(dtype) if isinstance(bias, Tensor) else None,
    )


@contextmanager
def reading_parameters(forward: Callable[..., Any], dtype: torch.dtype) -> Iterator[None]:
    """While this is open, the module of `forward` reads its own parameters in `dtype`."""
    module = _module_of(forward)
    # attention of torch's own reads those of its last layer without calling it
    parts = [module, *module.children()] if isinstance(module, nn.MultiheadAttention) else [module]
    before = [(part, name, p) for part in parts for name, p in part._parameters.items()]
    try:
        for part, name, parameter in before:
            if parameter is not None and parameter.is_floating_point():
                part._parameters[name] = parameter.to(dtype)  # type: ignore[assignment]
        yield
    finally:
        for part, name, parameter in before:
            part._parameters[name] = parameter


@contextmanager
def without_autocast(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[None]:
    """Autocast off for the kind of device that the arguments are on, where it was on."""
    kind = next((x.device.type for x in _tensors(args, kwargs)), "cpu")
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        with torch.autocast(kind, enabled=False):
            yield
    else:
        yield


def name_of(forward: Callable[..., Any]) -> str:
    """How messages call the module of `forward`: by its name in the model, where that is known."""
    module = _module_of(forward)
    name = getattr(vars(module).get("forward"), "name", "")
    kind = type(module).__name__
    return f"{name!r}, a {kind}," if name else f"a {kind}"


def _module_of(forward: Callable[..., Any]) -> nn.Module:
    return forward.__self__  # type: ignore[attr-defined]


def _tensors(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[Tensor]:
    """The arguments' tensors; most modules are given one."""
    if args and isinstance(args[0], Tensor):
        yield args[0]
    yield from (x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor))


def _check(found: Any, dtype: torch.dtype, forward: Callable[..., Any]) -> None:
    leaves = [found] if isinstance(found, Tensor) else tree_leaves(found)
    for leaf in leaves:
        if isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.dtype != dtype:
            raise PrecisionError(
                f"{name_of(forward)} returns {leaf.dtype}, and its recipe has it compute in "
                f"{dtype}",
                mend="let its forward keep the dtype of its arguments, or have the plan say "
                'otherwise of it: a rule with the seam "precision", or an island of the recipe',
            )
