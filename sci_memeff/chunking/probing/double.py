"""A copy of a module in float64, with other weights, to be called without a trace.

A leak that float32's rounding would hide is found in float64, and one behind a layer that starts
at zero when that layer is drawn anew.
"""

from __future__ import annotations

import copy
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 the name everybody knows it by
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes

from sci_memeff.chunking.probing.operand import WIDER

__all__ = ["double_copy", "in_double", "redraw_matrices", "redraw_vectors", "tensors_held"]

_CASTS = (Tensor.float, Tensor.half, Tensor.bfloat16)
_DROPOUTS: tuple[Callable[..., Any], ...] = (
    F.dropout,
    F.dropout1d,
    F.dropout2d,
    F.dropout3d,
    F.alpha_dropout,
    F.feature_alpha_dropout,
    torch.dropout,
    torch.dropout_,
    torch.alpha_dropout,
    torch.feature_dropout,
    torch.feature_alpha_dropout,
)


def double_copy(module: nn.Module) -> nn.Module:
    """A deep copy on the CPU, in float64 and without dropout; buffers keep about their values.

    Parameters are zeros, to be drawn by `redraw_matrices` and `redraw_vectors`. `module` may be on
    any device, fake or meta ones included; nothing of it is read but buffers and other tensors that
    are no parameters, and integers.
    """
    memo: dict[int, Any] = {}
    for parameter in module.parameters():
        dtype = WIDER.get(parameter.dtype, parameter.dtype)
        values = torch.zeros(parameter.shape, dtype=dtype)
        if not (dtype.is_floating_point or dtype.is_complex):
            values = _widened(parameter)
        memo[id(parameter)] = nn.Parameter(
            values, requires_grad=dtype.is_floating_point or dtype.is_complex
        )
    with _WideCopies():
        found = copy.deepcopy(module, memo)
    for part in found.modules():
        if isinstance(part, torch.jit.ScriptModule):
            part.double()  # copied by itself
        elif isinstance(part, nn.modules.dropout._DropoutNd):
            part.p = 0.0
        elif isinstance(part, (nn.MultiheadAttention, nn.RNNBase)):
            part.dropout = 0.0
    return found


def redraw_matrices(module: nn.Module, g: torch.Generator) -> None:
    """Other parameters of two and more dimensions, of a size that keeps activations near 1."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim > 1 and _can_be_drawn(parameter):
                fan_in = parameter.numel() / max(parameter.shape[0], 1)
                parameter.normal_(std=fan_in**-0.5, generator=g)


def redraw_vectors(module: nn.Module, g: torch.Generator, *, signed: bool) -> None:
    """Other parameters of one dimension or none: positive, about 1, or `signed`."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim < 2 and _can_be_drawn(parameter):
                if signed or parameter.is_complex():
                    parameter.normal_(generator=g)
                else:
                    parameter.uniform_(0.5, 1.5, generator=g)


def _can_be_drawn(parameter: Tensor) -> bool:
    return parameter.is_floating_point() or parameter.is_complex()


def tensors_held(module: nn.Module) -> list[Tensor]:
    """Parameters, buffers and whatever else its parts hold, one level into lists and dicts."""
    found = [*module.parameters(), *module.buffers()]
    for part in module.modules():
        for name, value in vars(part).items():
            if name in ("_parameters", "_buffers", "_modules"):
                continue
            inside = value.values() if isinstance(value, dict) else value
            many = inside if isinstance(value, (dict, list, tuple, set)) else (value,)
            found += [x for x in many if isinstance(x, Tensor)]
    return found


@contextmanager
def in_double() -> Iterator[None]:
    """Compute in float64 what asks for less, drop nothing, and leave nothing behind.

    Dropout is left out since its numbers are no part of the function: a walk draws others for
    every slice anyway. Generators, default dtype, warnings' filters and modes are put back.
    """
    python, numpy_, dtype = random.getstate(), np.random.get_state(), torch.get_default_dtype()
    try:
        with (
            _disable_current_modes(),  # of a simulation, say
            torch.random.fork_rng(devices=[]),
            warnings.catch_warnings(),
            torch.inference_mode(False),
            torch.device("cpu"),
            _InDouble(),
        ):
            warnings.simplefilter("ignore")
            torch.set_default_dtype(torch.float64)
            yield
    finally:
        torch.set_default_dtype(dtype)
        np.random.set_state(numpy_)
        random.setstate(python)


class _InDouble(TorchFunctionMode):
    """Casts to lower precision become casts to float64; dropout passes its input through."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _DROPOUTS:
            return args[0] if args else kwargs["input"]
        if func is F.scaled_dot_product_attention:
            args = (*args[:4], 0.0, *args[5:]) if len(args) > 4 else args
            kwargs = {**kwargs, "dropout_p": 0.0} if "dropout_p" in kwargs else kwargs
        if func in _CASTS:
            func = Tensor.double
        args = tuple(_wider(x) for x in args)
        return func(*args, **{name: _wider(x) for name, x in kwargs.items()})


def _wider(value: Any) -> Any:
    return WIDER.get(value, value) if isinstance(value, torch.dtype) else value


class _WideCopies(TorchFunctionMode):
    """Deep copies in which every tensor, but for those of the memo, is wide and on the CPU."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is not Tensor.__deepcopy__:
            return func(*args, **(kwargs or {}))
        tensor, memo = args
        if id(tensor) not in memo:
            memo[id(tensor)] = _widened(tensor)
        return memo[id(tensor)]


def _widened(tensor: Tensor) -> Tensor:
    """About its values, raised a little so that none of them is a neutral 0; else near 1, or 0.

    Raised and not drawn, since variances must stay positive and -inf must stay.
    """
    dtype = WIDER.get(tensor.dtype, tensor.dtype)
    known = not isinstance(tensor, FakeTensor) and not tensor.is_meta
    if not (dtype.is_floating_point or dtype.is_complex):
        values = tensor.detach().cpu().clone() if known else torch.zeros(tensor.shape, dtype=dtype)
        return values
    g = torch.Generator().manual_seed(tensor.numel())
    noise = torch.rand(tensor.shape, dtype=torch.float64, generator=g).to(dtype)
    return (tensor.detach().cpu().to(dtype) if known else 0.5) + noise
