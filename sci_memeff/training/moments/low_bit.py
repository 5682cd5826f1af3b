"""Moments in 8 or 4 bits: torchao's formats, and its step of Adam, over many weights at once.

Dettmers et al., "8-bit Optimizers via Block-wise Quantization" (2022): every block of values is
kept as codes on a fixed scale of levels and one float32, the largest value of the block. Li, Chen
and Zhu, "Memory Efficient Optimizers with 4-bit States" (2023) halve the codes.

Torchao's optimizers compile a kernel for every shape of parameter, AlphaFold 2 has about a hundred
of them, and then run one for every parameter. Blocks do not care about shapes: here a bucket's
blocks are put one below the other, and torchao's own step of Adam runs over all of them, not
compiled. It makes about 60 bytes per element of a bucket for as long as it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

from sci_memeff.errors import MissingPackageError
from sci_memeff.training.moments.exact import Exact, adam_step
from sci_memeff.training.moments.kept import FIRST, SECOND, STEP, States

__all__ = ["LowBit"]

SCALE = "_scale"  # behind a moment's name: its blocks' scales
LEAST = 4096  # elements of a weight whose moments are worth it, as in torchao


class _Format(NamedTuple):
    """One of torchao's, of a moment: what makes it, its blocks' size and its codes' type."""

    zeros: Callable[[tuple[int, int], bool, torch.device], Any]
    block: int
    codes: torch.dtype
    per_code: int = 1


class LowBit:
    """Moments of large weights in blocks of low-bit codes; those of small ones as they are.

    A weight is large if it has at least 4096 elements, in whole blocks of 256 (4 bits: 128).
    """

    def __init__(self, kind: str) -> None:
        # its tables of levels are made at the first use, out of real tensors
        with _disable_current_modes(), torch.device("cpu"):
            self._format = _FORMATS[kind]()
            for signed in (True, False):
                self._format.zeros((1, self._format.block), signed, torch.device("cpu"))
        self._small = Exact()

    def groups(self, parameters: Sequence[nn.Parameter]) -> list[dict[str, Any]]:
        """One of all."""
        return [{"params": list(parameters)}]

    def begun(self, weight: Tensor, group: Mapping[str, Any]) -> States:
        """Zeros: codes without a shape, and their scales."""
        if weight.numel() < LEAST or weight.numel() % self._format.block:
            return self._small.begun(weight, group)
        device = weight.device
        states = {STEP: torch.zeros((), dtype=torch.float32, device=device)}
        for name in (FIRST, SECOND):
            size = weight.numel() // self._format.per_code
            states[name] = torch.zeros(size, dtype=self._format.codes, device=device)
            states[name + SCALE] = torch.zeros(weight.numel() // self._format.block, device=device)
        return states

    def update(
        self,
        weights: Sequence[Tensor],
        gradients: Sequence[Tensor],
        states: Sequence[States],
        group: Mapping[str, Any],
        refused: Tensor | None,
    ) -> None:
        """Torchao's step for large weights, torch's for small ones."""
        for is_large, step in ((False, adam_step), (True, self._update)):
            chosen = [k for k, s in enumerate(states) if (FIRST + SCALE in s) == is_large]
            if chosen:
                step(
                    [weights[k] for k in chosen],
                    [gradients[k] for k in chosen],
                    [states[k] for k in chosen],
                    group,
                    refused,
                )

    def second(self, state: States, weight: Tensor) -> Tensor:
        """Decoded where it is in codes."""
        if SECOND + SCALE not in state:
            return self._small.second(state, weight)
        return self._gathered([state], SECOND).dequantize().view(weight.shape)

    def _update(
        self,
        weights: Sequence[Tensor],
        gradients: Sequence[Tensor],
        states: Sequence[States],
        group: Mapping[str, Any],
        refused: Tensor | None,
    ) -> None:
        from torchao.optim.adam import single_param_adam

        made = 1.0 if refused is None else 1.0 - refused
        for state in states:
            state[STEP].add_(made)
        rows = [state[FIRST + SCALE].numel() for state in states]
        counts = [state[STEP].expand(n) for state, n in zip(states, rows, strict=True)]
        new = self._flat(weights)
        first, second = self._gathered(states, FIRST), self._gathered(states, SECOND)
        single_param_adam(
            new,
            self._flat(gradients),
            torch.cat(counts)[:, None],  # what they are divided by, each block its own
            first,
            second,
            None,
            lr=group["lr"],
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            weight_decay=0.0,
            eps=group["eps"],
            IS_ADAMW=True,
            BF16_STOCHASTIC_ROUND=False,
        )
        sizes = [weight.numel() for weight in weights]
        for weight, found in zip(weights, new.view(-1).split(sizes), strict=True):
            _write(weight, found.view(weight.shape), refused)
        for name, moments in ((FIRST, first), (SECOND, second)):
            _scatter(moments.codes, [state[name] for state in states], refused)
            _scatter(moments.scale, [state[name + SCALE] for state in states], refused)

    def _flat(self, tensors: Sequence[Tensor]) -> Tensor:
        return torch.cat([x.reshape(-1) for x in tensors]).view(-1, self._format.block)

    def _gathered(self, states: Sequence[States], name: str) -> Any:
        """A moment of several weights as one of torchao's tensors, a block a row."""
        rows = sum(state[name + SCALE].numel() for state in states)
        device = states[0][name].device
        found = self._format.zeros((rows, self._format.block), name == FIRST, device)
        _gather([state[name] for state in states], found.codes)
        _gather([state[name + SCALE] for state in states], found.scale)
        return found


def _bytes(x: Tensor) -> Tensor:
    """Flat; of floats of one byte, which few operations take, the bytes."""
    return x.view(-1).view(torch.uint8) if x.element_size() == 1 else x.view(-1)


def _gather(parts: Sequence[Tensor], into: Tensor) -> None:
    torch.cat([_bytes(part) for part in parts], out=_bytes(into))


def _scatter(whole: Tensor, parts: Sequence[Tensor], refused: Tensor | None) -> None:
    found = _bytes(whole).split([part.numel() for part in parts])
    for part, new in zip(parts, found, strict=True):
        _write(_bytes(part), new, refused)


def _write(old: Tensor, new: Tensor, refused: Tensor | None) -> None:
    old.copy_(new if refused is None else torch.where(refused.bool(), old, new))


def _eight_bits() -> _Format:
    form = _torchao("subclass_8bit").OptimState8bit
    return _Format(
        lambda shape, signed, device: form.zeros(shape, signed, shape[1], device), 256, torch.uint8
    )


def _four_bits() -> _Format:
    form = _torchao("subclass_4bit").OptimState4bit
    return _Format(
        lambda shape, signed, device: form.zeros(shape, signed, shape[1], device),
        128,
        torch.uint8,
        per_code=2,
    )


def _eight_bit_floats() -> _Format:
    form = _torchao("subclass_fp8").OptimStateFp8
    return _Format(
        lambda shape, signed, device: form.zeros(shape, shape[1], device),
        256,
        torch.float8_e4m3fn,
    )


_FORMATS: dict[str, Callable[[], _Format]] = {
    "adam8bit": _eight_bits,
    "adam4bit": _four_bits,
    "adamfp8": _eight_bit_floats,
}


def _torchao(module: str) -> Any:
    from importlib import import_module

    try:
        return import_module(f"torchao.optim.{module}")
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"moments in low bits need torchao, which is not installed ({error})",
            mend="install it with `pip install 'sci-memeff[precision]'`, or set optimizer.kind to "
            "adam",
        ) from error
