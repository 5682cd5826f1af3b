"""One tensor of a call: its shape, its kind, and random ones like it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

__all__ = ["WIDER", "Draw", "Key", "Operand"]

Key = int | str
Draw = Literal["normal", "masks", "binary", "uneven", "positive"]

WIDER = {
    torch.float16: torch.float64,
    torch.bfloat16: torch.float64,
    torch.float32: torch.float64,
    torch.complex32: torch.complex128,
    torch.complex64: torch.complex128,
}


@dataclass(frozen=True)
class Operand:
    """One tensor of the call. `key` is the position or name of the argument that it is or is in.

    `values` are distinct ones: of integers, where they are known, and of floats that hold 0 and 1.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    key: Key
    values: Tensor | None

    @classmethod
    def of(cls, tensor: Tensor, key: Key) -> Operand:
        """Of a real, fake or meta tensor; of the latter two no values are known."""
        return cls(tuple(tensor.shape), tensor.dtype, key, _values(tensor))

    def drawn(self, shape: tuple[int, ...], draw: Draw, own: bool, g: torch.Generator) -> Tensor:
        """Random values. Masks hold both of theirs.

        Integers are among the call's own if `own`, else 0 and 1.
        """
        dtype = WIDER.get(self.dtype, self.dtype)
        if self._is_mask or (dtype.is_floating_point and draw in ("masks", "binary")):
            return _mask(shape, g).to(dtype)
        if dtype.is_floating_point and draw == "positive":
            return torch.rand(shape, dtype=dtype, generator=g) + 0.1
        if dtype.is_complex:
            return torch.randn(shape, dtype=dtype, generator=g)
        if dtype.is_floating_point:
            found = torch.randn(shape, dtype=torch.float64, generator=g)
            if draw == "uneven":
                found *= 10 ** (3 * torch.rand(shape, dtype=torch.float64, generator=g) - 1)
            return found.to(dtype)
        choice = torch.tensor([0, 1]) if self.values is None or not own else self.values
        picked = torch.randint(len(choice), shape, generator=g)
        return choice[picked].to(dtype)

    @property
    def _is_mask(self) -> bool:
        """Booleans, and floats that hold 0 and 1."""
        return self.dtype is torch.bool or (
            self.dtype.is_floating_point and self.values is not None
        )


def _values(tensor: Tensor) -> Tensor | None:
    known = not isinstance(tensor, FakeTensor) and not tensor.is_meta and tensor.numel() > 0
    if not known or tensor.dtype.is_complex or tensor.dtype is torch.bool:
        return None
    flat = tensor.detach().flatten()
    some = flat[:: max(len(flat) // 2**16, 1)]
    if tensor.dtype.is_floating_point:
        # most tensors are told from masks by some of their elements
        return torch.tensor([0, 1]) if _is_binary(some) and _is_binary(flat) else None
    return some.cpu().unique()


def _is_binary(flat: Tensor) -> bool:
    """Whether 0 and 1 are there, and nothing else."""
    zeros, ones = flat == 0, flat == 1
    return bool((zeros | ones).all() and zeros.any() and ones.any())


def _mask(shape: tuple[int, ...], g: torch.Generator) -> Tensor:
    """Zeros and ones, both of them in every line along the last axis that has room for both."""
    noise = torch.rand(shape, generator=g)
    found = noise < 0.5
    if shape and shape[-1] > 1:
        found.scatter_(-1, noise.argmin(-1, keepdim=True), True)
        found.scatter_(-1, noise.argmax(-1, keepdim=True), False)
    return found
