"""Budgets in words, and targets by name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from sci_memeff.errors import BadConfigError
from sci_memeff.planning import TARGETS, Target
from sci_memeff.planning.targets import bytes_of, chosen_target

GPU = TARGETS["A100-40GB"]


@pytest.mark.parametrize(
    ("budget", "size"),
    [
        (1, 1),
        (123456789, 123456789),
        ("24GiB", 24 * 2**30),
        ("24GB", 24 * 10**9),
        ("24 gib", 24 * 2**30),
        (" 1.5 MiB ", 3 * 2**19),
        (".5KB", 500),
        ("2TiB", 2 * 2**40),
        ("77", 77),
        ("77B", 77),
    ],
)
def test_budgets_are_bytes(budget: int | str, size: int) -> None:
    found = bytes_of(budget)
    assert found == size
    assert isinstance(found, int)


@pytest.mark.parametrize("budget", ["", "much", "GiB", "24Gib/s", "24 G", "-1GiB", "1e9", "1,5GiB"])
def test_what_is_no_size_is_refused(budget: str) -> None:
    with pytest.raises(BadConfigError, match=r'no budget in bytes\n  mend: write it as "24GiB"'):
        bytes_of(budget)


@pytest.mark.parametrize("budget", [0, -5, "0GiB", "0.1B"])
def test_a_budget_of_nothing_is_refused(budget: int | str) -> None:
    with pytest.raises(BadConfigError, match=r"is none\n  mend: give at least one byte"):
        bytes_of(budget)


def test_truth_is_no_size() -> None:
    with pytest.raises(BadConfigError, match="True is no budget"):
        bytes_of(True)


def test_targets_by_name() -> None:
    for name, target in TARGETS.items():
        assert target.name == name
        assert chosen_target(name) is target
    own = replace(GPU, name="mine", memory=10)
    assert chosen_target(own) is own


@pytest.mark.parametrize(("name", "near"), [("A100", "A100-40GB"), ("h100-80gb", "H100-80GB")])
def test_unknown_targets_are_refused_with_the_nearest(name: str, near: str) -> None:
    with pytest.raises(BadConfigError, match=f"no target '{name}'\n  mend: name one of .*{near}"):
        chosen_target(name)


def test_without_a_name_the_device_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert chosen_target(None) is GPU

    def device(name: str, size: float) -> Target:
        found: Any = type("Properties", (), {"total_memory": int(size * 2**30)})
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: name)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: found)
        return chosen_target(None)

    assert device("NVIDIA A100-SXM4-80GB", 79.2).name == "A100-80GB"
    assert device("NVIDIA A100-PCIE-40GB", 39.4).name == "A100-40GB"
    assert device("NVIDIA GeForce RTX 4090", 23.6).name == "RTX4090"
    assert device("NVIDIA H200", 139.8).name == "H200-141GB"
    assert device("Something Else", 8.0) is GPU


def test_an_operation_takes_the_longer_of_computing_and_reading() -> None:
    target = replace(GPU, half_flops=1e6, single_flops=1e3, bandwidth=1e2, launch=7.0)
    target = replace(target, efficiency=0.5)
    assert target.seconds(0, 0, torch.float32) == 7.0
    assert target.seconds(1000, 0, torch.float32) == 9.0
    assert target.seconds(1000, 0, torch.float64) == 9.0
    assert target.seconds(1_000_000, 0, torch.bfloat16) == 9.0
    assert target.seconds(1000, 500, torch.float32) == 12.0


def test_boundaries_travel_while_the_device_computes() -> None:
    target = replace(GPU, host_link=10.0)
    assert target.transfer(0, 5.0) == 0.0
    assert target.transfer(100, 1000.0) == pytest.approx(2.0)  # a tenth of there and back
    assert target.transfer(100, 15.0) == pytest.approx(5.0)
    assert target.transfer(100, 0.0) == pytest.approx(20.0)
    assert TARGETS["cpu"].transfer(100, 0.0) == 0.0


def test_the_table_is_plausible() -> None:
    for target in TARGETS.values():
        assert target.memory > 2**30
        assert target.half_flops > target.single_flops > target.bandwidth > target.host_link
        assert (target.host_link == 0) == (target.name == "cpu")
