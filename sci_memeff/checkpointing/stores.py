"""Where the carries between segments live until the backward pass comes to them.

A store is a value: what it keeps belongs to the graph of one forward pass, and goes with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from sci_memeff._types import Codec
from sci_memeff.checkpointing.coded import CodedCopies
from sci_memeff.checkpointing.disk import DiskCopies
from sci_memeff.checkpointing.host import HostCopies
from sci_memeff.checkpointing.shelf import Shelf
from sci_memeff.errors import BadConfigError

__all__ = ["ON_DEVICE", "Coded", "Device", "Disk", "Host", "Store"]

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

    def copies(self) -> HostCopies:
        """What makes a copy there."""
        return HostCopies()

    def opened(self, context: Sequence[Tensor]) -> Shelf:
        """A shelf for one run through a stack with this context."""
        return Shelf(self.copies(), context, self.min_bytes, ahead=self.ahead)


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

    def copies(self) -> DiskCopies:
        """What writes one there."""
        return DiskCopies(self.folder)

    def opened(self, context: Sequence[Tensor]) -> Shelf:
        """A shelf for one run through a stack with this context."""
        return Shelf(self.copies(), context, self.min_bytes)


ON_DEVICE = Device()


@dataclass(frozen=True)
class Coded:
    """As what `codec` makes of them: tensors of at least `min_bytes`, and in turn kept in `keep`.

    The forward pass computes with the tensors themselves. The backward pass reads what is decoded
    of them, each boundary when it comes to it, so that gradients are no longer exact: no further
    off than one coding takes them, since every segment begins with codes of its own true input.

    float32, bfloat16 and float16 are encoded. All else is kept in `keep` as it is, and so are
    small tensors. What is encoded, and `keep` asks for `min_bytes` of its own, goes there if its
    codes are as large. Second derivatives are refused by name: SecondDerivativeError.
    """

    codec: Codec
    keep: Device | Host | Disk = ON_DEVICE
    min_bytes: int = _MIB

    def __post_init__(self) -> None:
        _check(self.min_bytes)
        if not isinstance(self.keep, (Device, Host, Disk)):
            raise BadConfigError(
                f"codes are to be kept in {self.keep}",
                mend="give keep=Device(), Host() or Disk(): what is encoded is not encoded again",
            )

    def opened(self, context: Sequence[Tensor]) -> Shelf:
        """A shelf for one run through a stack with this context."""
        if isinstance(self.keep, Device):
            return Shelf(CodedCopies(self.codec, None, self.min_bytes), context, 0)
        copies, least = self.keep.copies(), self.keep.min_bytes
        ahead = isinstance(self.keep, Host) and self.keep.ahead
        coded = CodedCopies(self.codec, copies, self.min_bytes, least)
        return Shelf(coded, context, 0, ahead=ahead)


Store = Device | Host | Disk | Coded


def _check(min_bytes: int) -> None:
    if min_bytes < 0:
        raise BadConfigError(
            f"a store keeps tensors of at least {min_bytes} bytes",
            mend="give min_bytes of 0 or more; 0 keeps every one there",
        )
