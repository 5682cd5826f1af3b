"""What runs in processes of its own for the kernels of codes, beside `triton_process`."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sci_memeff.kernels.codes import CodeFormat, Groups, Rounding, decode_groups, encode_groups

from .triton_process import Compiled, NoDevice, _describe


def numbers(groups: Groups, rows: int, dtype: torch.dtype, device: str = "cpu") -> Tensor:
    """Rows of many sizes, with infinities, NaNs, a row of zeros and a tiny one."""
    g = torch.Generator().manual_seed(groups.row)
    sizes = torch.randn(rows, 1, generator=g).mul(3).exp()
    x = torch.randn(rows, groups.row, generator=g) * sizes
    x[0, 0], x[0, -1] = -torch.inf, torch.nan
    x[1] = 0
    x[2] *= 1e-25
    x[3, 0] = torch.finfo(dtype).max
    return x.to(dtype).flatten().to(device)


def same_bits(
    groups: Groups, form: CodeFormat, rounding: Rounding, dtype: torch.dtype, rows: int = 5
) -> list[bool]:
    """Whether codes, scales and what is decoded are those of plain torch."""
    from sci_memeff.kernels.triton_codes import run_decode, run_encode

    x = numbers(groups, rows, dtype)
    codes, scales = encode_groups(x, groups, form, rounding)
    plain = decode_groups(codes, scales, groups, form, dtype)
    found = torch.empty_like(codes), torch.empty_like(scales)
    run_encode(x, *found, groups, stochastic=rounding == "stochastic")
    decoded = torch.empty_like(x)
    run_decode(codes, scales, decoded, groups)
    pairs = ((found[0], codes), (found[1], scales), (decoded, plain))
    return [torch.equal(_bits(a), _bits(b)) for a, b in pairs]


def _bits(x: Tensor) -> Tensor:
    """All NaNs are one."""
    return (x.nan_to_num(nan=7.0) if x.is_floating_point() else x).view(torch.uint8)


def same_bits_on_a_gpu(
    groups: Groups, form: CodeFormat, rounding: Rounding, dtype: torch.dtype, rows: int = 5000
) -> list[bool]:
    """The same there, through the operations."""
    x = numbers(groups, rows, dtype)
    codes, scales = encode_groups(x, groups, form, rounding)
    plain = decode_groups(codes, scales, groups, form, dtype)
    found = encode_groups(x.cuda(), groups, form, rounding)
    decoded = decode_groups(*found, groups, form, dtype)
    pairs = ((found[0], codes), (found[1], scales), (decoded, plain))
    return [torch.equal(_bits(a.cpu()), _bits(b)) for a, b in pairs]


def compiled_codes(form: CodeFormat, rounding: Rounding, dtype: torch.dtype) -> list[Compiled]:
    """Both kernels as they are launched, compiled for sm_90, not run."""
    import triton
    from triton.runtime.jit import JITFunction

    from sci_memeff.kernels.triton_codes import run_decode, run_encode

    kernels = []
    run = JITFunction.run

    def compile_only(self: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> Any:
        kernels.append(run(self, *args, grid=grid, warmup=True, **kwargs))
        return kernels[-1]

    groups = Groups(256, 64)
    x = torch.empty(256 * 100, dtype=dtype, device="meta")
    codes = x.new_empty(x.numel(), dtype={"fp8": torch.uint8, "int8": torch.int8}[form])
    scales = x.new_empty(groups.count(x.numel()), dtype=torch.bfloat16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JITFunction, "run", compile_only)
        triton.runtime.driver.set_active(NoDevice())
        run_encode(x, codes, scales, groups, stochastic=rounding == "stochastic")
        run_decode(codes, scales, x, groups)
    return [_describe(kernel) for kernel in kernels]
