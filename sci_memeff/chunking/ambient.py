"""What a computation depends on besides its inputs: autocast, and the random generators.

Whoever computes something again records them where it was computed first and puts them back.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

__all__ = ["Autocast", "GeneratorStates"]


@dataclass(frozen=True)
class Autocast:
    """Which kinds of device compute in lower precision, and in which."""

    modes: tuple[tuple[str, bool, torch.dtype], ...]  # kind of device, whether on, its dtype

    @classmethod
    def now(cls, tensors: Sequence[Tensor]) -> Autocast:
        """As it stands, for the CPU and the devices of `tensors`."""
        kinds = {"cpu"} | {tensor.device.type for tensor in tensors}
        return cls(
            tuple(
                (kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind))
                for kind in sorted(kinds)
                if torch.amp.is_autocast_available(kind)
            )
        )

    @contextmanager
    def again(self) -> Iterator[None]:
        """As it stood, without the cache of cast weights.

        A weight that is cast while no graph is kept and cached would have no gradient where it is
        used later; one cast under a graph would tie every later graph to that one.
        """
        with ExitStack() as stack:
            for kind, enabled, dtype in self.modes:
                if enabled or torch.is_autocast_enabled(kind):
                    stack.enter_context(torch.autocast(kind, dtype, enabled, cache_enabled=False))
            yield


@dataclass(frozen=True)
class GeneratorStates:
    """States of the default generators: the CPU's and those of accelerators."""

    states: dict[torch.device, Tensor]

    @classmethod
    def now(cls, tensors: Sequence[Tensor]) -> GeneratorStates:
        """Those that a computation on `tensors` may draw from; nothing draws for fake tensors."""
        real = [x for x in tensors if not isinstance(x, FakeTensor) and not x.is_meta]
        return cls._read({torch.device("cpu"), *(x.device for x in real)} if real else set())

    @classmethod
    def _read(cls, devices: set[torch.device]) -> GeneratorStates:
        return cls({device: _read_one(device) for device in devices})

    def if_drawn(self) -> GeneratorStates | None:
        """These states, unless nothing was drawn from the generators since."""
        now = GeneratorStates._read(set(self.states)).states
        # outside of torch: whoever counts tensors would count these, in real runs alone
        same = all(_bytes(state) == _bytes(now[device]) for device, state in self.states.items())
        return None if same else self

    @contextmanager
    def again(self) -> Iterator[None]:
        """Draw the same numbers again; afterwards the generators stand as if nobody had."""
        before = GeneratorStates._read(set(self.states))
        try:
            self._write()
            yield
        finally:
            before._write()

    def _write(self) -> None:
        for device, state in self.states.items():
            if device.type == "cpu":
                torch.set_rng_state(state)
            else:
                torch.get_device_module(device).set_rng_state(state, device)


def _read_one(device: torch.device) -> Tensor:
    if device.type == "cpu":
        return torch.get_rng_state()
    return torch.get_device_module(device).get_rng_state(device)


def _bytes(state: Tensor) -> bytes:
    """A state is a tensor of the CPU, whichever device it is of."""
    return ctypes.string_at(state.data_ptr(), state.nbytes)
