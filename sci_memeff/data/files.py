"""Text in and out of files: gzip read as it comes, writing that leaves the old file or the new."""

from __future__ import annotations

import gzip
import os
import tempfile
import zlib
from pathlib import Path

from sci_memeff.errors import BadDataError

__all__ = ["decode", "read_text", "write_atomically"]

_GZIP = b"\x1f\x8b"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def read_text(path: str | Path) -> str:
    """The whole text of a file; a name that ends in .gz says that it is compressed.

    Lines end in a newline, whichever system wrote them. Errors: BadDataError for a file that is
    missing, empty, damaged, cut short, UTF-16, or not gzip where its name says so (or the other
    way round).
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise BadDataError(
            f"cannot be read ({error.strerror or error})",
            source=str(path),
            mend="check the path and its permissions",
        ) from None
    return decode(raw, source=str(path))


def decode(raw: bytes, *, source: str) -> str:
    """The text in the bytes of a file of that name, as `read_text` has it."""
    if source.endswith(".gz"):
        raw = _inflate(raw, source)
    elif raw.startswith(_GZIP):
        raise BadDataError(
            "is gzip, and its name does not say so",
            source=source,
            mend="let the name end in .gz, or unpack it with gunzip",
        )
    if not raw.strip():
        raise BadDataError("is empty", source=source, mend="fetch or write the file again")
    if raw.startswith(_UTF16):
        raise BadDataError("is UTF-16 text", source=source, mend="save it as UTF-8 or plain ASCII")
    text = raw.decode("utf-8-sig", errors="replace")  # some editors begin a file with a mark
    return text.replace("\r\n", "\n").replace("\r", "\n")


def write_atomically(path: str | Path, content: str | bytes) -> Path:
    """Write the whole file or leave what was there: a temporary beside it, then one rename.

    Errors: BadDataError where the system lets it not be written.
    """
    path = Path(path)
    raw = content.encode() if isinstance(content, str) else content
    try:
        _write(path, raw)
    except OSError as error:
        raise BadDataError(
            f"cannot be written ({error.strerror or error})",
            source=str(path),
            mend="check its folder, the permissions and the space that is left",
        ) from error
    return path


def _write(path: Path, raw: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(raw)
        os.chmod(temporary, 0o644)  # mkstemp's files are for their owner alone
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _inflate(raw: bytes, source: str) -> bytes:
    if not raw.startswith(_GZIP):
        raise BadDataError(
            "is named .gz and is not gzip",
            source=source,
            mend="take .gz off its name if it is plain text, else fetch it again",
        )
    try:
        return gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        raise BadDataError(
            f"is damaged or cut short ({error})", source=source, mend="fetch it again"
        ) from None
