"""Where an optimizer's states live: beside their parameters, or in the memory of the host.

Torchao's CPUOffloadOptimizer sends gradients to the host as the backward pass makes them, before
they can be clipped or averaged over a batch, and knows no averaged weights; so this is our own.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from sci_memeff.errors import CannotSimulateError

__all__ = ["Home"]


class Home:
    """The device of a parameter's states, its own or the host; and the way there."""

    def __init__(self, *, on_host: bool) -> None:
        self.on_host = on_host

    def of(self, p: Tensor) -> torch.device:
        """Where the states of a parameter are.

        On fake tensors, the host is what copies for the backward pass take for it too: the meta
        device, apart from all others. CannotSimulateError for parameters on the meta device itself.
        """
        if not self.on_host:
            return p.device
        if isinstance(p, FakeTensor):
            return torch.device("meta")
        if p.is_meta:
            raise CannotSimulateError(
                "states on the host cannot be told from others on the meta device",
                mend="simulate on fake tensors, as sci_memeff.simulate does",
            )
        return torch.device("cpu")

    def brought(self, x: Tensor) -> Tensor:
        """A parameter or a gradient there: itself where it is there already, else a copy.

        From a GPU through pinned memory, which torch keeps for the next time.
        """
        device = self.of(x)
        if device == x.device and not isinstance(x, FakeTensor):
            return x
        if not self.on_host:
            return x
        if x.device.type != "cuda":
            return torch.empty_like(x, device=device).copy_(x)
        found = torch.empty_like(x, device=device, pin_memory=True).copy_(x, non_blocking=True)
        torch.cuda.current_stream(x.device).synchronize()
        return found
