"""Copies in fewer bits, which may be kept elsewhere in turn."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sci_memeff._types import CODED_DTYPES, Codec, Encoded
from sci_memeff.checkpointing.shelf import Copy
from sci_memeff.errors import SecondDerivativeError

__all__ = ["CodedCopies", "HeldCopy"]


class CodedCopies:
    """Encodes tensors of at least `min_bytes`, and keeps what they come to with `copies`.

    All that is neither encoded nor kept elsewhere stays as it is: integers, booleans, float64.
    """

    def __init__(
        self, codec: Codec, copies: Callable[[Tensor], Copy] | None, min_bytes: int, least: int = 0
    ) -> None:
        self._codec = codec
        self._copies = copies
        self._min_bytes = min_bytes
        self._least = least  # bytes of what `copies` takes

    def __call__(self, tensor: Tensor) -> Copy | None:
        """None for a tensor that stays."""
        if tensor.dtype in CODED_DTYPES and tensor.nbytes >= self._min_bytes:
            return CodedCopy(self._codec, self._codec.encode(tensor), self._kept)
        if self._copies is None or tensor.nbytes < self._least:
            return None
        return self._copies(tensor)

    def _kept(self, parts: tuple[Tensor, ...]) -> list[Copy]:
        """A tensor's codes and scales go together."""
        if self._copies is None or sum(part.nbytes for part in parts) < self._least:
            return [HeldCopy(part) for part in parts]
        return [self._copies(part) for part in parts]


class HeldCopy:
    """A tensor where it is."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor
        self.nbytes = tensor.nbytes

    def prefetch(self) -> None:
        """It is there."""

    def fetch(self) -> Tensor:
        """The tensor."""
        return self._tensor


class CodedCopy:
    """A tensor's codes and scales; it is decoded when it is fetched, each time anew."""

    def __init__(
        self,
        codec: Codec,
        encoded: Encoded,
        keep: Callable[[tuple[Tensor, ...]], list[Copy]],
    ) -> None:
        self._codec = codec
        self._parts = keep(encoded.parts)
        self._encoded = encoded._replace(parts=())
        self.nbytes = sum(part.nbytes for part in self._parts)

    def prefetch(self) -> None:
        """Send for the codes."""
        for part in self._parts:
            part.prefetch()

    def fetch(self) -> Tensor:
        """Decoded, on its device; SecondDerivativeError in a backward pass that has a graph."""
        if torch.is_grad_enabled() and torch._C._current_graph_task_id() != -1:
            raise SecondDerivativeError(
                f"a tensor of shape {self._encoded.shape} is kept in {self._codec}, and a gradient "
                "of what comes back is not to be differentiated again",
                mend="leave out create_graph=True, or keep the tensors in Device() or Host() "
                "without a codec",
            )
        parts = tuple(part.fetch() for part in self._parts)
        with torch.no_grad():
            return self._codec.decode(self._encoded._replace(parts=parts))
