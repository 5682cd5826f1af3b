"""Copies in the memory of the host."""

from __future__ import annotations

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from sci_memeff.checkpointing.simulated import SimulatedCopy

__all__ = ["HostCopies"]


class HostCopies:
    """Makes a copy of a tensor that the host keeps."""

    def __init__(self) -> None:
        self._lanes: dict[torch.device, torch.cuda.Stream] = {}

    def __call__(self, tensor: Tensor) -> PinnedCopy | PlainCopy | SimulatedCopy:
        """The copy; of a tensor that a GPU has, it may still be on its way."""
        if isinstance(tensor, FakeTensor):
            return SimulatedCopy(tensor, comes_ahead=True)
        if tensor.device.type != "cuda":
            return PlainCopy(tensor)
        if tensor.device not in self._lanes:
            self._lanes[tensor.device] = torch.cuda.Stream(tensor.device)
        return PinnedCopy(tensor, self._lanes[tensor.device])


class PlainCopy:
    """In pageable memory; of a tensor that the host has as well, this is a second one."""

    def __init__(self, tensor: Tensor) -> None:
        self._device = tensor.device
        self._copy = torch.empty_like(tensor, device="cpu").copy_(tensor)
        self.nbytes = tensor.nbytes

    def prefetch(self) -> None:
        """Nothing: it would come no sooner."""

    def fetch(self) -> Tensor:
        """On its device."""
        return self._copy.to(self._device)


class PinnedCopy:
    """In pinned memory, on a lane of its own to and fro, so that the GPU computes meanwhile."""

    def __init__(self, tensor: Tensor, lane: torch.cuda.Stream) -> None:
        self._device, self._lane = tensor.device, lane
        self.nbytes = tensor.nbytes
        self._copy = torch.empty_like(tensor, device="cpu", pin_memory=True)
        self._ahead: tuple[Tensor, torch.cuda.Event] | None = None
        lane.wait_stream(torch.cuda.current_stream(tensor.device))
        with torch.cuda.stream(lane):
            self._copy.copy_(tensor, non_blocking=True)
        tensor.record_stream(lane)  # its memory serves nobody else before it is copied

    def prefetch(self) -> None:
        """Set it on its way back."""
        if self._ahead is None:
            with torch.cuda.stream(self._lane):
                tensor = torch.empty_like(self._copy, device=self._device)
                tensor.copy_(self._copy, non_blocking=True)
                arrived = torch.cuda.Event()
                arrived.record(self._lane)
            self._ahead = tensor, arrived

    def fetch(self) -> Tensor:
        """On its device; what the GPU does next waits for it, the host does not."""
        self.prefetch()
        assert self._ahead is not None
        (tensor, arrived), self._ahead = self._ahead, None
        current = torch.cuda.current_stream(self._device)
        current.wait_event(arrived)
        tensor.record_stream(current)
        return tensor
