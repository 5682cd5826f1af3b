import gzip
import os
from functools import partial

import pytest

from sci_memeff.data.files import read_text, write_atomically
from sci_memeff.errors import BadDataError

packed = partial(gzip.compress, mtime=0)  # no clock in the names of tests


def test_reads_plain_and_compressed_text(tmp_path):
    (tmp_path / "a.txt").write_text("Å\n")
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress("Å\n".encode()))
    assert read_text(tmp_path / "a.txt") == read_text(tmp_path / "a.txt.gz") == "Å\n"


def test_lines_of_any_system_and_marks_of_editors(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\rthree\n\xff")
    assert read_text(tmp_path / "a.txt") == "one\ntwo\nthree\n\ufffd"


@pytest.mark.parametrize(
    ("name", "content", "wrong", "mend"),
    [
        ("a.gz", b"plain", "is named .gz and is not gzip", "take .gz off its name"),
        ("a.gz", packed(b"x" * 999)[:-9], "is damaged or cut short", "fetch it again"),
        ("a.gz", packed(b"x")[:2] + b"?" * 9, "is damaged or cut short", "fetch it again"),
        ("a.gz", packed(b" "), "is empty", "fetch or write the file again"),
        ("a.txt", packed(b"x"), "its name does not say so", "let the name end in .gz"),
        ("a.txt", b"", "is empty", "fetch or write the file again"),
        ("a.txt", b" \n\t", "is empty", "fetch or write the file again"),
        ("a.txt", "text".encode("utf-16"), "is UTF-16 text", "save it as UTF-8"),
    ],
)
def test_refuses(tmp_path, name, content, wrong, mend):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadDataError, match=wrong) as caught:
        read_text(path)
    assert mend in caught.value.mend
    assert caught.value.source == str(path)


@pytest.mark.parametrize("name", ["absent.cif", "."])
def test_a_path_that_cannot_be_read(tmp_path, name):
    with pytest.raises(BadDataError, match="cannot be read") as caught:
        read_text(tmp_path / name)
    assert "check the path" in caught.value.mend


def test_writes_into_new_folders_and_over_old_files(tmp_path):
    path = tmp_path / "new" / "a.txt"
    assert write_atomically(path, "one") == path
    write_atomically(path, b"two")
    assert path.read_text() == "two"
    assert os.listdir(path.parent) == ["a.txt"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_atomically(path, "old")

    def broken(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", broken)
    with pytest.raises(BadDataError, match=r"a.txt: cannot be written \(disk full\)") as caught:
        write_atomically(path, "new")
    assert "the space that is left" in caught.value.mend
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_file_is_no_folder_to_write_into(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadDataError, match=r"cannot be written \((File exists|Not a dir)"):
        write_atomically(tmp_path / "file" / "a.txt", "new")
