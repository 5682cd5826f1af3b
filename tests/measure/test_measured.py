import inspect
import json

import pytest
import torch

from sci_memeff.errors import BadConfigError
from sci_memeff.measure import Measured, measure

from .chains import MATRIX, PRODUCT, Chain, matrix, step


def chain_measured(length: int = 3, segment: int = 0):
    model = Chain(length, segment, frozen=False)
    with measure(model) as bytes_:
        step(model, matrix(requires_grad=False)).backward()
    return bytes_


def test_equal_if_every_figure_is():
    one, other = chain_measured(), chain_measured()
    assert one == other
    assert one != chain_measured(4)
    assert one != "a string"
    assert repr(one) == (
        f"Measured(peak={one.peak}, peak_over={one.peak_over}, flops={8 * PRODUCT})"
    )


def test_json_holds_every_figure():
    measured = chain_measured()
    read = json.loads(measured.to_json())
    assert read == measured.to_dict()
    assert read["peak"] == measured.peak == read["peaks"]["cpu"]
    assert read["peak_over"] == measured.peak_over
    assert read["by_kind"]["parameters"] == {"at_peak": 3 * MATRIX, "highest": 3 * MATRIX}
    assert read["by_phase"]["backward"]["flops"] == 5 * PRODUCT
    assert read["by_module"]["layers.1"]["flops"] == 3 * PRODUCT
    assert {"kind", "module", "what", "shape", "dtype", "count", "bytes"} == set(
        read["by_tensor"][0]
    )
    assert read["allocator"] is None


def test_tensors_at_the_peak_are_told_with_what_made_them():
    groups = chain_measured().by_tensor()
    assert sum(group.bytes for group in groups) == chain_measured().peak
    first = groups[0]
    assert (first.what, first.kind, first.count, first.bytes) == ("tanh", "saved", 2, 2 * MATRIX)
    assert (first.module, first.shape, first.dtype) == ("(Chain)", (64, 64), "float32")
    assert {"weight"} == {group.what for group in groups if group.kind == "parameters"}


def test_over_time_adds_up():
    measured = chain_measured(3, 1)
    total = sum(measured.over_time().values())
    assert total.max() == measured.peak
    assert (sum(measured.over_time("module", depth=2).values()) == total).all()
    assert set(measured.over_time("module", depth=2)) == {
        "",
        "(Chain)",
        "layers.0",
        "layers.1",
        "layers.2",
    }


def test_figures_may_be_read_while_the_step_runs():
    with measure() as bytes_:
        assert bytes_.peak == 0
        x = torch.zeros(1024)
        assert bytes_.peak == 4096
        y = x + 1
        assert bytes_.peak == 8192
    del x, y
    assert bytes_.peak == 8192
    assert bytes_.device == torch.device("cpu")


def test_marking_says_what_cannot_be_known():
    with measure() as bytes_:
        states = torch.zeros(1024)
        bytes_.mark("optimizer", [states])
        x = torch.ones(256)
        bytes_.mark("inputs", [x])
        assert bytes_.by_kind["optimizer"].highest == 4096
        assert bytes_.by_kind["inputs"].highest == 1024
    assert bytes_.peak == 5120
    assert bytes_.peak_over == 4096
    with measure() as bytes_, pytest.raises(BadConfigError, match="one of parameters, gradients"):
        inspect.unwrap(Measured.mark)(bytes_, "states", [states])  # past the tests' type checker


def test_each_device_has_its_own_peak():
    with measure(device="cpu") as bytes_:
        x = torch.zeros(1024)
        away = torch.zeros(4096, device="meta")
        y = x + 1
    assert bytes_.peak == 8192
    assert bytes_.peaks == {torch.device("cpu"): 8192, torch.device("meta"): 4 * 4096}
    with measure() as bytes_:
        torch.zeros_like(away)
        torch.zeros_like(y)
    assert bytes_.device == torch.device("meta")  # the fullest one
    assert bytes_.peak == 2 * 4 * 4096
