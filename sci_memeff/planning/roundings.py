"""How far apart two computations of one gradient may be that differ in the order of additions.

Let u be the unit roundoff of the narrowest dtype that the step computes in (6e-8 for float32), v
that of the dtype in which sums are added up (float32 for bfloat16 and float16, else the same), and
n how many terms a gradient's element is the sum of: for a layer's weights, the tokens that went
through it. Every term carries a rounding or two of its own, which average out to about u; n terms
that are added one after another in another order end about v·√(n/2) apart; both are relative to
the gradient. The layers between a parameter and the loss multiply this by their condition, which
nobody knows beforehand; ALLOWANCE is room for that of a few. So the tolerance is

    ALLOWANCE · (u + v·√(n/2))

Where that is not enough, the condition is measured: `rounded_otherwise` changes every weight by a
relative u, up or down, which is as if each operation had rounded otherwise.

A gradient that was lost, doubled or of the wrong rows is 0.1 to 1 away, far above it in float32
and float64. In half precision it may not be: compare with a reference there, see `verify`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

__all__ = ["ALLOWANCE", "Terms", "rounded_otherwise", "rounding_tolerance"]

ALLOWANCE = 64.0
HALF = (torch.bfloat16, torch.float16)


def rounding_tolerance(terms: int, dtype: torch.dtype) -> float:
    """The relative difference that is allowed, as the module's first lines say."""
    sums = torch.float32 if dtype in HALF else dtype
    u, v = torch.finfo(dtype).eps / 2, torch.finfo(sums).eps / 2
    return ALLOWANCE * (u + v * (terms / 2) ** 0.5)


@torch.no_grad()
def rounded_otherwise(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """`model`, in place, each weight up or down by a rounding in `dtype`."""
    u = torch.finfo(dtype).eps / 2
    generator = torch.Generator().manual_seed(0)
    for p in model.parameters():
        if p.is_floating_point():
            up = torch.randint(2, p.shape, generator=generator).bool().to(p.device)
            step = max(u, torch.finfo(p.dtype).eps)  # less would be rounded away
            factor = torch.ones_like(p) + step
            p.mul_(torch.where(up, factor, 2 - factor))
    return model


class Terms:
    """Counts, while a model runs, how many terms the gradient of each parameter is the sum of."""

    def __init__(self) -> None:
        self.dtype = torch.float64
        self._calls: dict[nn.Module, int] = {}

    @contextmanager
    def counting(self, model: nn.Module) -> Iterator[None]:
        """Count what is called inside, anew."""
        self._calls.clear()
        modules = [m for m in model.modules() if not isinstance(m, torch.jit.ScriptModule)]
        hooks = [module.register_forward_hook(self._called) for module in modules]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def of(self, model: nn.Module, name: str) -> int:
        """Of a parameter: the vectors that its module, or the next one around it, gave out.

        Of anything else, such as an input, the largest count of all.
        """
        owner, _, last = name.rpartition(".")
        try:
            is_parameter = isinstance(getattr(model.get_submodule(owner), last), nn.Parameter)
        except AttributeError:
            is_parameter = False
        while is_parameter:
            count = self._calls.get(model.get_submodule(owner), 0)
            if count or not owner:
                return max(count, 1)
            owner = owner.rpartition(".")[0]
        return max(self._calls.values(), default=1)

    def _called(self, module: nn.Module, args: Any, out: Any) -> None:
        tensors = [x for x in tree_leaves(out) if isinstance(x, Tensor) and x.is_floating_point()]
        vectors = [x.numel() // max(x.shape[-1], 1) if x.ndim else 1 for x in tensors]
        self._calls[module] = self._calls.get(module, 0) + max(vectors, default=0)
        for x in tensors:
            if torch.finfo(x.dtype).eps > torch.finfo(self.dtype).eps:
                self.dtype = x.dtype
