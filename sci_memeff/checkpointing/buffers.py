"""A module's buffers that its forward writes, such as running statistics, when it runs again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["Buffers"]


class _Before(NamedTuple):
    """A buffer, and a copy of it, from before the forward pass."""

    module: nn.Module
    name: str
    buffer: Tensor
    version: int
    copy: Tensor

    def was_written(self) -> bool:
        now = self.module._buffers.get(self.name)
        return now is not self.buffer or self.buffer._version != self.version


class Buffers:
    """What the buffers held before a forward pass, of those that it wrote.

    Costs a copy of every buffer while the module runs for the first time, of those alone that it
    wrote until the backward pass, and of what may be written while it runs again. Those of
    TorchScript's modules, which nobody can stand in for, are left alone.
    """

    def __init__(self, module: nn.Module) -> None:
        self._parts = [
            part
            for part in module.modules()
            if part._buffers and not isinstance(part, torch.jit.ScriptModule)
        ]
        with torch.no_grad():
            self._before = [
                _Before(part, name, buffer, buffer._version, buffer.clone())
                for part in self._parts
                for name, buffer in part._buffers.items()
                if buffer is not None
            ]

    def forget_others(self) -> None:
        """After the forward pass: only what was written need be put back."""
        self._before = [one for one in self._before if one.was_written()]

    @contextmanager
    def as_before(self) -> Iterator[None]:
        """Stand-ins that read as the buffers did; what is written to them is lost.

        Normalisations write their running statistics without saying so, hence the stand-ins for
        floating buffers that seemed unchanged. They do not read in training what they write.
        """
        held = [(part, dict(part._buffers)) for part in self._parts]
        try:
            with torch.no_grad():
                for part in self._parts:
                    for name, buffer in part._buffers.items():
                        if buffer is not None and part.training and buffer.is_floating_point():
                            part._buffers[name] = buffer.clone()
                for one in self._before:
                    one.module._buffers[one.name] = one.copy.clone()
            yield
        finally:
            for part, buffers in held:
                part._buffers.clear()
                part._buffers.update(buffers)
