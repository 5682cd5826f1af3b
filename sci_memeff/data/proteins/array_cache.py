"""Arrays on disk under a key, as safetensors (no pickle), with a checksum over what they hold.

Whoever reads an entry gets what was stored or nothing: a file that is cut short, altered or of
another kind counts as absent. Writers replace whole files, so any number of processes may share
a folder.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from sci_memeff.data.files import write_atomically
from sci_memeff.errors import BadDataError

__all__ = ["ArrayCache", "digest"]

_CHECKSUM = "checksum"
_log = logging.getLogger(__name__)

Arrays = dict[str, np.ndarray]
Notes = dict[str, str]


def digest(*parts: bytes) -> str:
    """A hash of the parts and of where one ends and the next begins."""
    hasher = hashlib.blake2b(digest_size=20)
    for part in parts:
        hasher.update(len(part).to_bytes(8, "little"))
        hasher.update(part)
    return hasher.hexdigest()


class ArrayCache:
    """A folder of entries, each some named arrays and some named strings.

    Errors: BadDataError where `folder` is there and is none.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise BadDataError(
                "is no folder", source=str(folder), mend="name another for the cache"
            )

    def path(self, key: str) -> Path:
        """Where the entry of that key (letters and digits) is or would be."""
        return self.folder / key[:2] / f"{key}.safetensors"

    def store(self, key: str, arrays: Mapping[str, np.ndarray], notes: Mapping[str, str]) -> None:
        """Write the entry whole, or leave what was there.

        What cannot be written is told to the log: a run goes on without its cache.
        """
        whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        notes = dict(notes)
        content = save(whole, metadata={**notes, _CHECKSUM: _checksum(whole, notes)})
        try:
            write_atomically(self.path(key), content)
        except BadDataError as error:
            _log.warning("not cached: %s", error)

    def load(self, key: str) -> tuple[Arrays, Notes] | None:
        """What was stored; None if nothing was, or if the file is damaged."""
        try:
            with safe_open(self.path(key), framework="numpy") as file:
                notes = dict(file.metadata() or {})
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError, TypeError, ValueError) as error:
            _log.warning("%s is damaged and will not be used: %s", self.path(key), error)
            return None
        if notes.pop(_CHECKSUM, "") != _checksum(arrays, notes):
            _log.warning("%s is damaged and will not be used: wrong checksum", self.path(key))
            return None
        return arrays, notes


def _checksum(arrays: Mapping[str, np.ndarray], notes: Mapping[str, str]) -> str:
    parts: list[bytes] = []
    for name, note in sorted(notes.items()):
        parts += [name.encode(), note.encode()]
    for name, array in sorted(arrays.items()):
        parts += [name.encode(), f"{array.dtype} {array.shape}".encode(), array.tobytes()]
    return digest(*parts)
