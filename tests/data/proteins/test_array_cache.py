import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from sci_memeff.data.proteins.array_cache import ArrayCache, digest
from sci_memeff.errors import BadDataError

KEY = "0123abcd"
ARRAYS = {
    "letters": np.arange(6, dtype=np.uint8).reshape(2, 3),
    "empty": np.zeros((0, 4, 3), np.float32),
    "mask": np.array([True, False]),
}
NOTES = {"name": "1abc_Å"}


@pytest.fixture
def cache(tmp_path):
    stored = ArrayCache(tmp_path / "cache")
    stored.store(KEY, ARRAYS, NOTES)
    return stored


def test_gives_back_what_was_stored(cache):
    arrays, notes = cache.load(KEY)
    assert notes == NOTES
    assert set(arrays) == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        assert np.array_equal(arrays[name], array)


def test_strided_arrays_are_stored_as_they_look(cache):
    cache.store("ff", {"turned": ARRAYS["letters"].T}, {})
    assert np.array_equal(cache.load("ff")[0]["turned"], ARRAYS["letters"].T)


def test_what_was_not_stored_is_absent(cache):
    assert cache.load("00") is None


def test_any_flipped_bit_is_noticed(cache, caplog):
    whole = cache.path(KEY).read_bytes()
    with caplog.at_level(logging.WARNING):
        for place in range(len(whole)):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << place % 8
            cache.path(KEY).write_bytes(damaged)
            assert cache.load(KEY) is None, place
    assert len(caplog.records) == len(whole)
    assert "is damaged and will not be used" in caplog.text


def test_any_cut_is_noticed(cache):
    whole = cache.path(KEY).read_bytes()
    for length in range(0, len(whole), 7):
        cache.path(KEY).write_bytes(whole[:length])
        assert cache.load(KEY) is None, length


def test_a_foreign_safetensors_file_is_not_trusted(cache):
    from safetensors.numpy import save

    cache.path(KEY).write_bytes(save(ARRAYS))
    assert cache.load(KEY) is None
    cache.store(KEY, ARRAYS, NOTES)
    assert cache.load(KEY) is not None


def test_an_entry_that_cannot_be_read_is_absent(cache):
    cache.path(KEY).unlink()
    cache.path(KEY).mkdir()
    assert cache.load(KEY) is None


def test_a_cache_is_a_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadDataError, match="file: is no folder\n  mend: name another"):
        ArrayCache(tmp_path / "file")


def test_entries_are_replaced_whole(cache, monkeypatch, caplog):
    import os

    def broken(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", broken)
    cache.store(KEY, {"letters": np.zeros(9)}, {})
    assert "cannot be written (disk full)" in caplog.text
    monkeypatch.undo()
    assert set(cache.load(KEY)[0]) == set(ARRAYS)
    assert [path.name for path in cache.path(KEY).parent.iterdir()] == [cache.path(KEY).name]


def test_many_may_write_and_read_at_once(cache):
    def work(number):
        whole = []
        for _ in range(20):
            cache.store(KEY, {"numbers": np.full(1000, number)}, {"by": str(number)})
            arrays, notes = cache.load(KEY)
            whole.append((arrays["numbers"] == int(notes["by"])).all())
        return all(whole)

    cache.store(KEY, {"numbers": np.full(1000, 0)}, {"by": "0"})
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))


def test_a_digest_knows_where_parts_end():
    assert digest(b"ab", b"c") != digest(b"a", b"bc")
    assert digest(b"ab", b"c") == digest(b"ab", b"c")
