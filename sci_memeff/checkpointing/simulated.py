"""Copies of fake tensors: what a device would hold, without a byte anywhere."""

from __future__ import annotations

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

__all__ = ["SimulatedCopy"]


class SimulatedCopy:
    """Off its device; a measurement sees the copy apart, as the meta device's."""

    def __init__(self, tensor: FakeTensor, *, comes_ahead: bool) -> None:
        self._mode = tensor.fake_mode
        self._device = tensor.fake_device
        self._comes_ahead = comes_ahead
        self.nbytes = tensor.nbytes
        self._ahead: Tensor | None = None
        with self._mode:
            self._like = torch.empty_like(tensor, device="meta")

    def prefetch(self) -> None:
        """Let its bytes be on the device from now on, if they would."""
        if self._comes_ahead and self._ahead is None:
            self._ahead = self._made()

    def fetch(self) -> Tensor:
        """On its device."""
        tensor, self._ahead = self._ahead, None
        return self._made() if tensor is None else tensor

    def _made(self) -> Tensor:
        with self._mode, torch.no_grad():
            return torch.empty_like(self._like, device=self._device)
