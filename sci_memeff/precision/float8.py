"""Linear layers that multiply in 8-bit floating point, by torchao's float8 training.

Of the three products of a linear layer, x·Wᵀ going forward, g·W and gᵀ·x going backward, each
operand is divided by a scale so that its largest element becomes the largest number of the format,
and rounded. The scale is of the whole tensor ("tensorwise") or of each of its rows ("rowwise").

Micikevicius et al. 2022, "FP8 formats for deep learning".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import linear as linear_of

from sci_memeff.errors import BadConfigError, MissingPackageError, PrecisionError
from sci_memeff.precision.casts import name_of, without_autocast
from sci_memeff.precision.gains import misshapen
from sci_memeff.precision.watching import note_ranges

__all__ = ["Float8", "Scaling", "float8"]

Scaling = Literal["tensorwise", "rowwise", "rowwise_with_gw_hp"]

COMPUTED = torch.bfloat16  # what comes in and goes out of a product of FP8 numbers
ALIGNED = 16  # elements, of every inner dimension of such a product on a GPU
UNITS_SINCE = (8, 9)  # NVIDIA's Ada
UNITS_SINCE_ROCM = (9, 4)  # AMD's MI300


def float8(scaling: Scaling | str = "rowwise_with_gw_hp", *, emulate: bool | None = None) -> Float8:
    """A `Forward` that computes an `nn.Linear` in FP8, for a module's seam "precision".

    The parameter is the same, and float32 if it was: it is cast to bf16 and then scaled where it
    is used. What comes in is cast to bf16, what goes out is bf16, gradients come in the
    parameter's dtype.

    "tensorwise" has one scale for each tensor, gradients in e5m2. "rowwise" has one for each row,
    all in e4m3, scales powers of two. "rowwise_with_gw_hp" is that with the weight's gradient
    computed in bf16: the most accurate, and alone in that no row's result depends on any other
    row, so a walk gives what the whole does, but one product in three stays in bf16.

    `emulate`: True multiplies the rounded numbers in float32, anywhere; False asks for the
    device's product of FP8 numbers; None emulates on GPUs without FP8 units (before Ada and
    MI300). A CPU has no such units, but torch multiplies FP8 numbers there, and the bytes are a
    GPU's.

    Costs, besides the products, the casts: outside of torch.compile torchao scales in float32, 8
    bytes for each element of an operand while it is cast.

    BadConfigError for another scaling; MissingPackageError without torchao; PrecisionError, when
    it is applied, for what is no plain `nn.Linear` with multiples of 16 on both sides.
    """
    _torchao()
    return Float8(scaling, emulate)


@dataclass(frozen=True)
class Float8:
    """What `float8` returns: a value that two runs can compare and a file can keep."""

    scaling: Scaling | str = "rowwise_with_gw_hp"
    emulate: bool | None = None

    def __post_init__(self) -> None:
        if self.scaling not in get_args(Scaling):
            raise BadConfigError(
                f"FP8 is scaled {self.scaling!r}",
                mend=f"use one of {', '.join(get_args(Scaling))}",
            )

    def __str__(self) -> str:
        if self.emulate is None:
            return f"FP8 {self.scaling}, emulated on GPUs without FP8 units"
        return f"FP8 {self.scaling}{', emulated' if self.emulate else ''}"

    def emulates(self, device: torch.device) -> bool:
        """Whether it multiplies in float32 there.

        PrecisionError where that is not wanted and nothing else is possible.
        """
        if self.emulate or _multiplies_fp8(device):
            return bool(self.emulate)
        if self.emulate is None:
            return True
        raise PrecisionError(
            f"{device} has no product of FP8 numbers",
            mend="let it be emulated: float8(emulate=None), or True",
        )

    def check(self, layer: nn.Module, name: str) -> None:
        """Before it is put into a model: PrecisionError for a layer for which it is not possible.

        MissingPackageError without torchao.
        """
        _torchao()
        _refuse(misshapen(layer), f"{name!r}, a {type(layer).__name__},")

    def __call__(
        self, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Tensor:
        """Run `forward`, which is that of an `nn.Linear`, as `Forward` says."""
        linear = _checked(forward)
        given: Tensor = args[0] if args else kwargs["input"]
        # torchao can lay out no tensor anew once it has a scale for each row
        rows = given.to(COMPUTED).reshape(-1, linear.in_features)
        weight = linear.weight.to(COMPUTED)
        with without_autocast(args, kwargs):
            found = self._product(rows, weight)
            if linear.bias is not None:
                found = found + linear.bias.to(COMPUTED)
        note_ranges(linear, rows, weight, found)
        return found.reshape(*given.shape[:-1], linear.out_features)

    def _product(self, rows: Tensor, weight: Tensor) -> Tensor:
        if not rows.numel():
            return linear_of(rows, weight)  # there is no largest element
        pads = rows.shape[0] % ALIGNED > 0
        return _products(self.scaling, self.emulates(rows.device), pads=pads)(rows, weight)


def _checked(forward: Callable[..., Any]) -> nn.Linear:
    """The layer whose forward it is; PrecisionError where FP8 is not possible for it."""
    layer: Any = forward.__self__  # type: ignore[attr-defined]
    reason = misshapen(layer)
    if reason is None and getattr(forward, "__func__", None) is not nn.Linear.forward:
        reason = "somebody has put another forward on it"
    if reason is not None:
        _refuse(reason, name_of(forward))
    return layer


def _refuse(reason: str | None, name: str) -> None:
    if reason is not None:
        raise PrecisionError(
            f"{name} cannot be computed in FP8: {reason}",
            mend="leave it to bf16: sci_memeff.precision.reasons(model) tells which layers gain",
        )


def _multiplies_fp8(device: torch.device) -> bool:
    """Whether torch does there; a GPU that is not there, a fake tensor's, counts as one that can"""
    if device.type == "cuda" and torch.cuda.is_available():
        since = UNITS_SINCE_ROCM if torch.version.hip else UNITS_SINCE
        return torch.cuda.get_device_capability(device) >= since
    return device.type in ("cuda", "cpu")


@cache
def _products(scaling: str, emulate: bool, *, pads: bool) -> Callable[[Tensor, Tensor], Tensor]:
    """torchao's three products. Along the rows, which nobody counted, the last one needs zeros."""
    ao = _torchao()
    from torchao.float8.float8_linear import matmul_with_hp_or_float8_args as function
    from torchao.float8.float8_training_tensor import LinearMMConfig, ScaledMMConfig

    config = replace(ao.Float8LinearConfig.from_recipe_name(scaling), emulate=emulate)
    each = (
        config.gemm_config_output,
        config.gemm_config_grad_input,
        config.gemm_config_grad_weight,
    )
    padded = (False, False, pads and not emulate)
    how = LinearMMConfig(
        *(
            ScaledMMConfig(emulate, one.use_fast_accum, False, pad)
            for one, pad in zip(each, padded, strict=True)
        )
    )
    return lambda rows, weight: function.apply(rows, weight.t(), how, config)


@cache
def _torchao() -> Any:
    try:
        import torchao.float8
    except ImportError as error:
        raise MissingPackageError(
            "FP8 is computed by torchao", mend="pip install 'sci-memeff[precision]'"
        ) from error
    return torchao.float8
