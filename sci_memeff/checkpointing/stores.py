"""Where the carries between segments live until the backward pass comes to them.

A store is a value: what it keeps belongs to the graph of one forward pass, and goes with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from sci_memeff.checkpointing.disk import DiskCopies
from sci_memeff.checkpointing.host import HostCopies
from sci_memeff.checkpointing.shelf import Shelf
from sci_memeff.errors import BadConfigError

__all__ = ["ON_DEVICE", "Device", "Disk", "Host", "Store"]

_MIB = 1 << 20


@dataclass(frozen=True)
class Device:
    """Where they were computed; nothing moves."""

    def opened(self, context: Sequence[Tensor]) -> None:
        """No shelf is needed."""


@dataclass(frozen=True, kw_only=True)
class Host:
    """In the memory of the host: tensors of at least `min_bytes`.

    A GPU's tensors are copied to pinned memory on a stream of their own, and the ones that the
    backward pass needs next come back while it computes, so that two boundaries are on the device
    at most; without `ahead` a single one, for which the backward pass waits.

    Tensors of the CPU are copied as well, which frees nothing: the copy is what a machine without
    a GPU shows of it. Fake tensors stand for a GPU's: they leave for the meta device, and come
    back as a GPU's would.
    """

    min_bytes: int = _MIB
    ahead: bool = True

    def __post_init__(self) -> None:
        _check(self.min_bytes)

    def opened(self, context: Sequence[Tensor]) -> Shelf:
        """A shelf for one run through a stack with this context."""
        return Shelf(HostCopies(), context, self.min_bytes, ahead=self.ahead)


@dataclass(frozen=True, kw_only=True)
class Disk:
    """In files under `folder` or the system's temporary one: tensors of at least `min_bytes`.

    A file is deleted when the backward pass is done with it, or when the graph is given up.
    KeptTensorError, in the forward pass, where there is no such folder or no room in it.
    """

    folder: str | None = None
    min_bytes: int = _MIB

    def __post_init__(self) -> None:
        _check(self.min_bytes)

    def opened(self, context: Sequence[Tensor]) -> Shelf:
        """A shelf for one run through a stack with this context."""
        return Shelf(DiskCopies(self.folder), context, self.min_bytes)


Store = Device | Host | Disk
ON_DEVICE = Device()


def _check(min_bytes: int) -> None:
    if min_bytes < 0:
        raise BadConfigError(
            f"a store keeps tensors of at least {min_bytes} bytes",
            mend="give min_bytes of 0 or more; 0 keeps every one there",
        )
