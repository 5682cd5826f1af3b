"""Stacks of blocks that count their calls, and all that a backward pass through one gives."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sci_memeff._types import Iterate


class Block(nn.Module):
    """Two carries, x (*b, n, 4) and y (*b, n, 3), and a context, k (*b, n, 4), for both."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4)
        self.up = nn.Linear(4, 6)
        self.down = nn.Linear(6, 4)
        self.over = nn.Linear(4, 3)
        self.dropout = nn.Dropout(dropout)
        self.calls = 0

    def forward(self, x: Tensor, y: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        self.calls += 1
        h = self.up(self.norm(x) * k).tanh()
        x = x + self.dropout(self.down(h))
        return x, y + (self.over(x) * y).sin()


class Stack(nn.Module):
    """Blocks on an `Iterate`, the same one at every second place if `shared`."""

    def __init__(self, num_blocks: int, dropout: float = 0.0, *, shared: bool = False) -> None:
        super().__init__()
        blocks = [Block(dropout) for _ in range(num_blocks)]
        if shared:
            blocks[2::2] = blocks[:1] * len(blocks[2::2])
        self.blocks = nn.ModuleList(blocks)
        g = torch.Generator().manual_seed(num_blocks)
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(torch.randn(p.shape, generator=g))

    def calls(self) -> list[int]:
        """How often each block was called since the last time."""
        counts = [block.calls for block in self.blocks]
        for block in self.blocks:
            block.calls = 0
        return counts


def inputs(dtype: torch.dtype = torch.float64, n: int = 5) -> list[Tensor]:
    """x, y and k, leaves that need gradients."""
    g = torch.Generator().manual_seed(3)
    shapes = [(2, n, 4), (2, n, 3), (2, n, 4)]
    return [torch.randn(s, generator=g).to(dtype).requires_grad_() for s in shapes]


def answer(
    stack: Stack, tensors: Sequence[Tensor], iterate: Iterate, *, every: bool = False
) -> list[Tensor | None]:
    """Outputs, and the gradients of inputs and parameters, under a seed."""
    torch.manual_seed(5)
    x, y, k = tensors
    # nobody's leaf, so that freeing it is up to the stack
    carries = iterate(list(stack.blocks), (x * 1, y * 1), context=(k * 1,), every=every)
    outputs = [tensor for carry in carries for tensor in carry]
    total = sum((o * (i + 1)).square().sum() for i, o in enumerate(outputs))
    wanted = [*tensors, *stack.parameters()]
    return [
        *(o.detach() for o in outputs),
        *torch.autograd.grad(total, wanted, allow_unused=True),
        torch.get_rng_state(),
    ]


def assert_bitwise(found: Sequence[Tensor | None], plain: Sequence[Tensor | None]) -> None:
    assert len(found) == len(plain)
    for i, (one, other) in enumerate(zip(found, plain, strict=True)):
        if one is None or other is None:
            assert one is other, i
        else:
            assert one.dtype == other.dtype, i
            assert torch.equal(one, other), i
