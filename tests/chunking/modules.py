"""Functions to walk, and the comparison of a walk with the plain evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sci_memeff.chunking import walk


class Mixed(nn.Module):
    """Rows and shared operands of every kind, outputs of other widths, parameters unused."""

    IN_DIMS = (-3, -1, -1, -1)
    OUT_DIMS = (-2, -3, -1, -1)

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(4, 6)
        self.two = nn.Linear(3, 6)
        self.unused = nn.Linear(2, 2)
        self.frozen = nn.Parameter(torch.ones(6), requires_grad=False)

    def rows(self, x, y, keep, index, a, b, k):
        """x (*b, r, j, 4), y (*b, 3, r), keep (*b, r), index (r,), a (j, 6), b (*b, 5, 6), k ()."""
        h = self.one(x) + self.two(y.transpose(-1, -2))[..., None, :] + a
        h = h.tanh() * keep[..., None, None] * self.frozen
        logits = torch.einsum("...rjc,...kc->...krj", h, b)
        wide = torch.cat([h, h.square()], dim=-1)
        return logits, wide, h.sum((-1, -2)) * (index + 1), 2 * index + k

    forward = rows


class Single(nn.Module):
    """x (*b, r, 4) and a shared y (*b, j, 6) to (*b, r, j)."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 6)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return (self.linear(x).sigmoid() @ y.transpose(-1, -2)).square()


class Inputs(NamedTuple):
    rows: tuple[Tensor, ...]
    shared: tuple[Tensor, ...]


def mixed_inputs(
    length: int, batch: Sequence[int] = (), dtype: torch.dtype = torch.float64, seed: int = 0
) -> Inputs:
    g = torch.Generator().manual_seed(seed)

    def leaf(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=dtype).requires_grad_()

    keep = torch.rand(*batch, length, generator=g) < 0.6
    if length > 1:
        keep[..., 0], keep[..., -1] = True, False
        assert set(keep.unique().tolist()) == {False, True}
    rows = (leaf(*batch, length, 3, 4), leaf(*batch, 3, length), keep, torch.arange(length))
    return Inputs(rows, (leaf(3, 6), leaf(*batch, 5, 6), torch.tensor(3)))


def double(module: nn.Module, seed: int = 0) -> Any:
    """In float64, with parameters drawn anew."""
    g = torch.Generator().manual_seed(seed)
    module = module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=g, dtype=torch.float64))
    return module


def mixed(module: Mixed, inputs: Inputs, size: int):
    return walk(
        module.rows,
        rows=inputs.rows,
        shared=inputs.shared,
        in_dims=Mixed.IN_DIMS,
        out_dims=Mixed.OUT_DIMS,
        size=size,
    )


def single(module: Single, x: Tensor, y: Tensor, size: int) -> Tensor:
    return walk(module, rows=(x,), shared=(y,), in_dims=-2, out_dims=-2, size=size)


def two(length: int = 5, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(3)
    return tuple(
        torch.randn(*shape, generator=g, dtype=dtype).requires_grad_()
        for shape in ((2, length, 4), (2, 3, 6))
    )


def plus(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    return x * y + z.sum()


def as_tuple(found: Any) -> tuple[Tensor, ...]:
    return (found,) if isinstance(found, Tensor) else tuple(found)


def answer(
    evaluate: Callable[[], Any], wanted: Sequence[Tensor], seed: int = 1
) -> list[Tensor | None]:
    """Outputs, then gradients of a random combination of them; None where there is none."""
    outputs = as_tuple(evaluate())
    g = torch.Generator().manual_seed(seed)
    floats = [x for x in outputs if x.requires_grad]
    total = sum(
        (x * torch.randn(x.shape, generator=g, dtype=torch.float64).to(x)).sum() for x in floats
    )
    gradients = torch.autograd.grad(total, list(wanted), allow_unused=True)
    return [*(x.detach() for x in outputs), *gradients]


def differentiable(inputs: Inputs, module: nn.Module | None = None) -> list[Tensor]:
    parameters = [] if module is None else list(module.parameters())
    return [x for x in (*inputs.rows, *inputs.shared, *parameters) if x.requires_grad]


def assert_same(
    found: Sequence[Tensor | None], wanted: Sequence[Tensor | None], tolerance: float = 1e-12
) -> None:
    """To `tolerance` of each one's largest magnitude, 1 at least."""
    assert len(found) == len(wanted)
    for i, (one, other) in enumerate(zip(found, wanted, strict=True)):
        if one is None or other is None:
            assert one is other, i
            continue
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        if one.numel():
            scale = max(1.0, other.abs().max().item())
            assert (one - other).abs().max() <= tolerance * scale, i
