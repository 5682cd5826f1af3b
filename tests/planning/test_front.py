"""Plans to choose from, as a sequence, a table and a picture."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sci_memeff import Plan, Rule
from sci_memeff._prediction import Prediction
from sci_memeff.checkpointing import in_segments
from sci_memeff.errors import MissingPackageError
from sci_memeff.planning import Front

GIB = 1 << 30


def planned(size: int, seconds: float, host: int = 0) -> Plan:
    told = Prediction(
        target="H100-80GB",
        budget_bytes=None,
        peak_bytes=size * GIB,
        peak_phase="backward",
        peak_module=f"blocks.{size}",
        margin=0.08,
        reserved_bytes=size * GIB,
        host_bytes=host,
        plain_peak_bytes=9 * GIB,
        flops=int(seconds * 100),
        plain_flops=200,
        step_seconds=seconds,
        plain_seconds=2.0,
        actions=(),
    )
    return Plan(rules=(Rule(where="*", seam="iterate", use=in_segments(size)),), prediction=told)


PLANS = [planned(9, 2.0), planned(5, 2.5), planned(3, 3.0, host=3 * GIB // 2), planned(2, 4.0)]
FRONT = Front(PLANS)


def test_it_is_a_sequence() -> None:
    assert len(FRONT) == 4
    assert list(FRONT) == PLANS
    assert FRONT[0] is PLANS[0]
    assert FRONT[-1] is PLANS[-1]
    assert isinstance(FRONT[1:3], Front)
    assert list(FRONT[1:3]) == PLANS[1:3]
    assert list(reversed(FRONT)) == PLANS[::-1]
    assert PLANS[2] in FRONT
    with pytest.raises(IndexError):
        FRONT[4]


def test_the_next_leaner_one() -> None:
    assert FRONT.below(100 * GIB) is PLANS[0]
    assert FRONT.below(9 * GIB) is PLANS[1]
    assert FRONT.below(9 * GIB + 1) is PLANS[0]
    assert FRONT.below(4 * GIB) is PLANS[2]
    assert FRONT.below(2 * GIB) is None
    assert Front([]).below(GIB) is None


def test_as_a_table() -> None:
    head, *rows = str(FRONT).splitlines()
    assert head.split()[:3] == ["peak", "time", "FLOPs"]
    assert [row.split()[0] for row in rows] == ["9.00", "5.00", "3.00", "2.00"]
    assert rows[0].split()[2:] == ["1.00", "1.00", "–", "backward", "blocks.9"]
    assert rows[2].split()[2:] == ["1.50", "1.50", "1.50", "GiB", "backward", "blocks.3"]


@pytest.mark.parametrize(
    ("suffix", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")]
)
def test_as_a_picture(tmp_path: Path, suffix: str, start: bytes) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / f"front.{suffix}"
    FRONT.plot(path)
    assert path.read_bytes().startswith(start)


def test_the_picture_needs_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingPackageError, match=r"matplotlib\n  mend: pip install"):
        FRONT.plot(tmp_path / "front.png")
    assert not list(tmp_path.iterdir())
