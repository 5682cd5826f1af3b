"""What was logged of magnitudes: as numbers, as a table, as a picture."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sci_memeff.errors import MissingPackageError
from sci_memeff.precision.ranges import Range, Ranges, exponent


@pytest.mark.parametrize(
    ("value", "k"), [(1.0, 0), (1.99, 0), (2.0, 1), (0.5, -1), (2.0**-140, -140)]
)
def test_exponents(value, k):
    assert exponent(value) == k


def test_a_range_adds_up():
    found = Range()
    found.add(6.0, 0.75)
    found.add(4.0, 4.0)
    found.add(0.0, 0.0)
    assert (found.calls, found.smallest, found.largest, found.widest) == (3, 0.0, 6.0, 3.0)
    assert found.tensors == {2: 2}  # one of zeros has no exponent
    assert found.rows == {-1: 1, 2: 1}


@pytest.fixture
def ranges() -> Ranges:
    found = Ranges()
    found.of("b", "weight").add(2.0, 1.0)
    for amax in (1.0, 2.0, 1024.0):
        found.of("a", "activation").add(amax, amax / 8)
    found.of("b", "activation").add(1.5, 1.5)
    return found


def test_layers_together(ranges):
    tensors, rows = ranges.together("activation")
    assert tensors == {0: 2, 1: 1, 10: 1}
    assert rows == {-3: 1, -2: 1, 7: 1, 0: 1}
    assert ranges.together("gradient") == ({}, {})


def test_as_a_table(ranges):
    head, *rows = str(ranges).splitlines()
    assert head.split()[:3] == ["layer", "of", "tensors"]
    assert [row.split() for row in rows] == [
        ["a", "activation", "3", "1.00e+00", "1.02e+03", "3.0"],
        ["b", "activation", "1", "1.50e+00", "1.50e+00", "0.0"],
        ["b", "weight", "1", "2.00e+00", "2.00e+00", "1.0"],
    ]


@pytest.mark.parametrize(
    ("suffix", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")]
)
def test_as_a_picture(ranges, tmp_path: Path, suffix: str, start: bytes):
    pytest.importorskip("matplotlib")
    path = tmp_path / f"ranges.{suffix}"
    ranges.plot(path)
    assert path.read_bytes().startswith(start)


def test_the_picture_needs_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingPackageError, match=r"matplotlib\n  mend: pip install"):
        Ranges().plot(tmp_path / "ranges.png")
    assert not list(tmp_path.iterdir())
