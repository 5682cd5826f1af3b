import sys

import numpy as np
import pytest

from sci_memeff.errors import MissingPackageError
from sci_memeff.measure import measure
from sci_memeff.measure.timeline import NUM_COLUMNS, _columns, _largest, _stretches

from .chains import Chain, matrix, step


@pytest.fixture
def measured():
    model = Chain(12, 3, frozen=False)
    with measure(model) as bytes_, bytes_.phase("sample"):
        step(model, matrix(requires_grad=False)).backward()
    return bytes_


@pytest.mark.parametrize("by", ["kind", "module"])
@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_a_picture_is_drawn(measured, tmp_path, by, suffix):
    path = tmp_path / f"timeline.{suffix}"
    measured.plot(path, by=by)
    assert path.stat().st_size > 5000
    if suffix == "svg":
        assert "backward/sample" in path.read_text() or "forward/sample" in path.read_text()


def test_nothing_measured_can_be_drawn(tmp_path):
    with measure() as bytes_:
        pass
    bytes_.plot(str(tmp_path / "empty.png"))


def test_without_matplotlib_the_package_is_named(measured, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'sci-memeff\[plot\]'"):
        measured.plot(tmp_path / "timeline.png")


def test_long_runs_keep_their_peak():
    total = np.arange(100_000) % 977
    total[43_211] = 5000
    columns = _columns(total)
    assert 43_211 in columns
    assert columns[0] == 0
    assert columns[-1] == 99_999
    assert len(columns) <= NUM_COLUMNS + 2
    assert _columns(np.array([7])).tolist() == [0]


def test_small_layers_are_drawn_together():
    layers = {str(k): np.full(3, k) for k in range(20)}
    shown = _largest(layers)
    assert len(shown) == 9
    assert (sum(shown.values()) == sum(range(20))).all()
    assert "0" not in _largest({"0": np.zeros(3, int), "1": np.ones(3, int)})


def test_recomputation_bears_the_name_of_the_backward_pass():
    spans = [("forward", 0, 5), ("backward", 5, 6), ("recompute", 6, 8), ("backward", 8, 9)]
    assert _stretches(spans) == [("forward", 0, 5), ("backward", 5, 9)]
    nested = [("recompute/a", 0, 2), ("backward/a", 2, 3), ("backward", 3, 4)]
    assert _stretches(nested) == [("backward/a", 0, 3), ("backward", 3, 4)]
