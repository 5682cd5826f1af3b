"""Copies in files, one for each tensor, raw bytes in the order of its memory."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import weakref
from pathlib import Path

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from sci_memeff.checkpointing.simulated import SimulatedCopy
from sci_memeff.errors import KeptTensorError

__all__ = ["DiskCopies"]


class DiskCopies:
    """Writes tensors to a folder of its own, which goes when its last file is not needed any more.

    It goes with the process at the latest, unless that is killed; a folder that was left behind
    begins with `sci_memeff-kept-`.
    """

    def __init__(self, folder: str | None) -> None:
        self._parent = Path(tempfile.gettempdir() if folder is None else folder)
        self._folder: Path | None = None
        self._count = 0

    def __call__(self, tensor: Tensor) -> FileCopy | SimulatedCopy:
        """Written when this returns."""
        if isinstance(tensor, FakeTensor):
            return SimulatedCopy(tensor, comes_ahead=False)
        if self._folder is None:
            self._folder = _made_in(self._parent)
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._count += 1
        return FileCopy(tensor, self._folder / f"{self._count}.bin", self)


class FileCopy:
    """One tensor's file, deleted with this."""

    def __init__(self, tensor: Tensor, path: Path, folder: DiskCopies) -> None:
        self._folder = folder  # keeps it alive
        self._path = path
        self._device, self._dtype = tensor.device, tensor.dtype
        self.nbytes = tensor.nbytes
        tensor = tensor.resolve_conj().resolve_neg()
        if torch.empty_like(tensor, device="meta").stride() != tensor.stride():
            tensor = tensor.contiguous()  # it overlaps itself or has gaps
        self._shape, self._stride = tensor.shape, tensor.stride()
        flat = tensor.as_strided((tensor.numel(),), (1,), tensor.storage_offset())
        _write(path, flat.view(torch.uint8).cpu())
        weakref.finalize(self, path.unlink, missing_ok=True)

    def prefetch(self) -> None:
        """Nothing: the system reads ahead by itself."""

    def fetch(self) -> Tensor:
        """Read, and put on its device."""
        size = self._shape.numel() * self._dtype.itemsize
        read = torch.empty(size, dtype=torch.uint8)
        try:
            with self._path.open("rb", buffering=0) as file:
                found = os.fstat(file.fileno()).st_size
                if found == size:
                    _read(file.fileno(), read.numpy().data)
        except OSError as error:
            raise KeptTensorError(
                f"a kept tensor cannot be read back from {self._path}: {error.strerror}",
                mend="give Disk a folder that nothing cleans up while a step is under way",
            ) from error
        if found != size:
            raise KeptTensorError(
                f"a kept tensor of {size} bytes has {found} in {self._path}",
                mend="give Disk a folder that nothing else writes to",
            )
        return read.view(self._dtype).as_strided(self._shape, self._stride).to(self._device)


def _made_in(parent: Path) -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix="sci_memeff-kept-", dir=parent))
    except OSError as error:
        raise KeptTensorError(
            f"tensors were to be kept in {parent}, and no folder can be made there: "
            f"{error.strerror}",
            mend="give Disk a folder that exists and may be written to",
        ) from error


def _write(path: Path, flat: Tensor) -> None:
    """Under another name first: a file of this name is whole."""
    partial = path.with_suffix(".partial")
    try:
        with partial.open("wb") as file:
            file.write(flat.numpy().data)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise KeptTensorError(
            f"a tensor of {flat.numel()} bytes cannot be written to {path.parent}: "
            f"{error.strerror}, with {_free(path.parent)}",
            mend="give Disk a folder with more room, or make segments longer: fewer are kept then",
        ) from error


def _free(folder: Path) -> str:
    try:
        return f"{shutil.disk_usage(folder).free} bytes free"
    except OSError:
        return "the folder gone"


def _read(descriptor: int, into: memoryview) -> None:
    """All of it: a single call reads 2 GiB at most."""
    done = 0
    while done < len(into):
        count = os.readv(descriptor, [into[done : done + (1 << 30)]])
        if not count:
            raise OSError(errno.EIO, "it became shorter")
        done += count
