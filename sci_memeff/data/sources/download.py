"""One file over HTTP, checked and kept whole: the old file, or the new one, never a part."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from sci_memeff.data.files import write_atomically
from sci_memeff.errors import BadDataError

__all__ = ["NotFoundError", "download"]

_SCHEMES = ("https://", "http://")


class NotFoundError(BadDataError):
    """The server answers, and has no such file (404)."""


def download(address: str, path: Path, *, check: Callable[[bytes], object], timeout: float) -> Path:
    """Fetch `address`, let `check` refuse it by a BadDataError, and only then write `path`.

    Errors: BadDataError that names the address: not found (404, a `NotFoundError`), refused,
    unreachable or silent for `timeout` seconds, cut short, or refused by `check`.
    """
    if not address.startswith(_SCHEMES):
        raise BadDataError(
            "is no web address", source=address, mend="let it begin with https:// or http://"
        )
    try:
        with urllib.request.urlopen(address, timeout=timeout) as response:
            content = response.read()
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 404:
            raise NotFoundError(
                "not found (404)",
                source=address,
                mend="check the name; the server may not have it",
            ) from None
        raise BadDataError(
            f"refused ({error.code} {error.reason})", source=address, mend="try again later"
        ) from None
    # timeouts and unreachable servers are OSErrors, short answers HTTPExceptions, and names that
    # no address can hold ValueErrors
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise BadDataError(
            f"cannot be fetched, at {timeout:g} s of patience ({error})",
            source=address,
            mend="check the network and the address, try again, or allow more seconds",
        ) from None
    check(content)
    return write_atomically(path, content)
