"""What runs in processes of its own, since Triton reads once whether to interpret its kernels.

Everything here is found by name there, and returns numbers that can be compared here.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sci_memeff.alphafold.attention import Attention
from sci_memeff.alphafold.triangle_attention import TriangleAttention
from sci_memeff.chunking.walk import in_slices
from sci_memeff.errors import SecondDerivativeError
from sci_memeff.kernels.reference import attention
from sci_memeff.kernels.triton_attention import triton_attention

TESTS = Path(__file__).parents[1]


@contextmanager
def process(**environment: str) -> Iterator[Callable[..., Any]]:
    """`run(fn, *arguments)`, in another process with this environment."""
    with pytest.MonkeyPatch.context() as patch:
        for folder in (TESTS, TESTS.parent):
            patch.syspath_prepend(str(folder))
        patch.delenv("TRITON_INTERPRET", raising=False)
        for name, value in environment.items():
            patch.setenv(name, value)
        with ProcessPoolExecutor(1, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
            yield lambda fn, *arguments: pool.submit(fn, *arguments).result()


@dataclass(frozen=True)
class Case:
    """Attention of q (*b, h, i, c) to k (*b, h, j, c) with biases of these shapes."""

    batch: tuple[int, ...] = (3,)
    h: int = 2
    i: int = 20
    j: int = 37
    c: int = 8
    masks: tuple[tuple[int, ...], ...] = ()  # without a gradient, 0 or -1e9
    biases: tuple[tuple[int, ...], ...] = ()  # with one
    dtype: torch.dtype = torch.float32
    device: str = "cpu"
    strength: float = 1e9
    seed: int = 0

    def tensors(self) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """q, k, v and biases, which need gradients; masks; the gradient of the result.

        Laid out as the model has them, heads beside channels.
        """
        g = torch.Generator().manual_seed(self.seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=g, dtype=torch.float64).to(self.dtype)

        planes = [normal(*self.batch, n, self.h, self.c) for n in (self.i, self.j, self.j, self.i)]
        q, k, v, grad = (x.transpose(-2, -3) for x in planes)
        biases = [normal(*s).mT.contiguous().mT for s in self.biases]  # keys far apart
        masks = []
        for shape in self.masks:
            mask = torch.rand(*shape, generator=g) < 0.6
            assert mask.any()
            assert not mask.all()
            masks.append((mask.to(self.dtype) - 1) * self.strength)
        wanted = [x.to(self.device).requires_grad_() for x in (q, k, v, *biases)]
        return wanted, [x.to(self.device) for x in masks], grad.to(self.device)


def results(case: Case, attend: Callable[..., Tensor], dtype: torch.dtype) -> list[Tensor]:
    """The result, and the gradients of q, k, v and the biases, computed in `dtype`."""
    needed, masks, grad = case.tensors()
    needed = [x.detach().to(dtype).requires_grad_() for x in needed]
    out = attend(*needed[:3], (*(x.to(dtype) for x in masks), *needed[3:]))
    return [out.detach(), *torch.autograd.grad(out, needed, grad.to(dtype))]


def differences(case: Case, attend: Callable[..., Tensor] = triton_attention) -> list[float]:
    """How far each of `results` is from the reference in float64, relative to its largest or 1."""
    wanted = results(case, attention, torch.float64)
    found = results(case, attend, case.dtype)
    assert [x.shape for x in found] == [x.shape for x in wanted]
    assert all(x.dtype == case.dtype for x in found)
    return [
        ((a - b).abs().max() / b.abs().max().clamp(min=1)).item() if a.numel() else 0.0
        for a, b in zip(found, wanted, strict=True)
    ]


def without_biases(q: Tensor, k: Tensor, v: Tensor, biases: Sequence[Tensor] = ()) -> Tensor:
    """The kernels, wrongly used."""
    return triton_attention(q, k, v, [bias * 0 for bias in biases])


def errors_beside_plain(case: Case) -> list[tuple[float, float]]:
    """Root mean square errors of the kernels and of the plain form, in the case's type."""
    wanted = results(case, attention, torch.float64)
    ours, plain = (results(case, form, case.dtype) for form in (triton_attention, attention))
    return [
        ((a - c).square().mean().sqrt().item(), (b - c).square().mean().sqrt().item())
        for a, b, c in zip(ours, plain, wanted, strict=True)
    ]


def repeats(case: Case) -> bool:
    """Whether two runs give the same bits."""
    first, second = (results(case, triton_attention, case.dtype) for _ in range(2))
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def without_any_key(strength: float) -> list[Tensor]:
    """`results` of two rows, of which the second sees no key; and the result on all its keys."""
    case = Case(batch=(2,), masks=((2, 1, 1, 37),), biases=((1, 2, 20, 37),))

    def attend(q: Tensor, k: Tensor, v: Tensor, biases: tuple[Tensor, ...]) -> Tensor:
        mask = torch.stack([torch.zeros(1, 1, 37), torch.full((1, 1, 37), -strength)])
        return triton_attention(q, k, v, (mask, *biases[1:]))

    needed, _, _ = case.tensors()
    return [*results(case, attend, case.dtype), needed[2].detach().mean(-2, keepdim=True)]


def broadcast_operands() -> list[float]:
    """Differences where k and v are the same for every row, and every result's gradient is 1."""
    case = Case(masks=((3, 1, 1, 37),))
    (q, k, v), (mask,), _ = case.tensors()
    k, v = (x[:1].detach().requires_grad_() for x in (k, v))
    found = triton_attention(q, k.expand(3, -1, -1, -1), v.expand(3, -1, -1, -1), (mask,))
    wanted = attention(q.double(), k.double(), v.double(), (mask.double(),))
    pairs = zip(
        torch.autograd.grad(found.sum(), (q, k, v)),
        torch.autograd.grad(wanted.sum(), (q, k, v)),
        strict=True,
    )
    return [(found - wanted).abs().max().item(), *((a - b).abs().max().item() for a, b in pairs)]


def in_a_walk() -> list[float]:
    """Differences of a triangle attention whose rows are walked, and of its parameters."""
    torch.manual_seed(0)
    module = TriangleAttention(c_z=16, c_hidden=8, num_heads=2, node="ending")
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    z, grad = torch.randn(1, 11, 11, 16, requires_grad=True), torch.randn(1, 11, 11, 16)
    mask = torch.rand(1, 11, 11) < 0.7
    needed = [z, *module.parameters()]
    wanted = module(z, mask)
    wanted = [wanted.detach(), *torch.autograd.grad(wanted, needed, grad)]
    for part in module.modules():
        if isinstance(part, Attention):
            part.attend = triton_attention
    module.walk = in_slices(4)
    found = module(z, mask)
    found = [found.detach(), *torch.autograd.grad(found, needed, grad)]
    return [(a - b).abs().max().item() for a, b in zip(found, wanted, strict=True)]


def under_torch_compile() -> bool:
    """Whether torch traces a call whole, and its gradients come out the same."""
    needed, masks, grad = Case(masks=((3, 1, 1, 37),), biases=((1, 2, 20, 37),)).tensors()

    def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        return triton_attention(q, k, v, (masks[0], bias))

    traced = torch.compile(attend, backend="aot_eager", fullgraph=True)
    found, wanted = (torch.autograd.grad(f(*needed), needed, grad) for f in (traced, attend))
    return all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


def second_derivative() -> str:
    """What differentiating the gradients says."""
    needed, _, grad = Case().tensors()
    out = triton_attention(*needed)
    try:
        torch.autograd.grad(out, needed, grad, create_graph=True)
    except SecondDerivativeError as error:
        return str(error)
    return ""


@dataclass(frozen=True)
class Compiled:
    """A kernel as compiled for a GPU."""

    name: str
    ptx: str
    shared_bytes: int
    stack_bytes: int
    registers: int


class NoDevice:
    """What Triton asks its driver for before it compiles."""

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def compiled(
    dtype: torch.dtype,
    c: int,
    sizes: tuple[int, int, int, int, int] = (1, 384, 4, 384, 384),
    with_mask: bool = True,
    with_pair: bool = True,
) -> list[Compiled]:
    """Every kernel as it is launched for these (g, r, h, i, j), compiled for sm_90, not run."""
    import triton
    from triton.runtime.jit import JITFunction

    from sci_memeff.kernels.triton_backward import run_backward
    from sci_memeff.kernels.triton_forward import run_forward

    kernels = []
    run = JITFunction.run

    def compile_only(self: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> Any:
        kernels.append(run(self, *args, grid=grid, warmup=True, **kwargs))
        return kernels[-1]

    def empty(*shape: int, dtype: torch.dtype = dtype) -> Tensor:
        return torch.empty(*shape, dtype=dtype, device="meta")

    g, r, h, i, j = sizes
    q, k, v, out, grad = (empty(g, r, n, h, c).transpose(2, 3) for n in (i, j, j, i, i))
    mask = empty(g, r, 1, j).expand(-1, -1, h, -1) if with_mask else None
    of_mask = empty(g, r, h, j, dtype=torch.float32) if with_mask else None
    pair = empty(g, h, i, j) if with_pair else None
    statistics = empty(2, g, r, h, i, dtype=torch.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JITFunction, "run", compile_only)
        triton.runtime.driver.set_active(NoDevice())
        run_forward(q, k, v, mask, pair, out, statistics)
        run_backward((q, k, v, mask, pair), out, statistics, grad, (q, k, v, of_mask, pair))
    return [_describe(kernel) for kernel in kernels]


def atomic_ptx() -> str:
    """What a kernel with atomic additions compiles to."""
    import triton

    from .triton_atomic import atomic_kernel

    triton.runtime.driver.set_active(NoDevice())
    x = torch.empty(64, device="meta")
    return atomic_kernel.warmup(x, x, 64, grid=(1,)).asm["ptx"]


def _describe(kernel: Any) -> Compiled:
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "kernel.cubin")
        Path(file).write_bytes(kernel.asm["cubin"])
        usage = subprocess.run(
            [str(tool), "--dump-resource-usage", file], capture_output=True, text=True, check=True
        ).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    assert found
    registers, stack = map(int, found.groups())
    return Compiled(kernel.name, kernel.asm["ptx"], kernel.metadata.shared, stack, registers)
