import os

import pytest

from sci_memeff.data.sources.download import NotFoundError, download
from sci_memeff.errors import BadDataError

from .server import serve


def accept(content: bytes) -> None:
    assert content


def test_keeps_what_is_checked(tmp_path):
    with serve({"/a": b"content"}) as server:
        path = download(f"{server.address}/a", tmp_path / "x" / "a", check=accept, timeout=5.0)
    assert path.read_bytes() == b"content"
    assert os.listdir(tmp_path / "x") == ["a"]


@pytest.mark.parametrize(
    ("path", "wrong", "mend"),
    [
        ("/absent", "not found", "check the name"),
        ("/500", "refused .500", "try again later"),
        ("/short", "cannot be fetched.*IncompleteRead", "try again"),
        ("/slow", "cannot be fetched, at 0.2 s.*timed out", "allow more seconds"),
        ("/hangs%20up", "cannot be fetched", "check the network"),
    ],
)
def test_refuses_and_writes_nothing(tmp_path, path, wrong, mend):
    with serve({}) as server:
        address = server.address + path
        with pytest.raises(BadDataError, match=wrong) as caught:
            download(address, tmp_path / "a", check=accept, timeout=0.2)
    assert caught.value.source == address
    assert mend in caught.value.mend
    assert isinstance(caught.value, NotFoundError) == (path == "/absent")
    assert os.listdir(tmp_path) == []


def test_what_the_check_refuses_is_not_written(tmp_path):
    def refuse(content: bytes) -> None:
        raise BadDataError(f"{content!r} is bad", source="s", mend="none")

    with (
        serve({"/a": b"content"}) as server,
        pytest.raises(BadDataError, match="b'content' is bad"),
    ):
        download(f"{server.address}/a", tmp_path / "a", check=refuse, timeout=5.0)
    assert os.listdir(tmp_path) == []


def test_no_server(tmp_path):
    with serve({}) as server:
        address = server.address
    with pytest.raises(BadDataError, match="cannot be fetched"):
        download(f"{address}/a", tmp_path / "a", check=accept, timeout=1.0)


@pytest.mark.parametrize("address", ["file:///etc/hostname", "ftp://127.0.0.1/a", "a"])
def test_web_addresses_only(tmp_path, address):
    with pytest.raises(BadDataError, match="is no web address") as caught:
        download(address, tmp_path / "a", check=accept, timeout=1.0)
    assert "https://" in caught.value.mend
