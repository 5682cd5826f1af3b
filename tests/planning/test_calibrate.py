"""Measured targets, written and read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from sci_memeff.errors import BadDataError
from sci_memeff.planning import Target
from sci_memeff.planning.calibrate import calibrated
from sci_memeff.planning.targets import TARGETS, chosen_target, load_target, save_target


def test_a_processor_is_calibrated() -> None:
    target = calibrated("cpu")
    rates = (target.half_flops, target.single_flops, target.bandwidth, target.launch)
    assert all(rate > 0 for rate in rates)
    assert target.memory > 1 << 28
    assert (target.host_link, target.efficiency) == (0.0, 1.0)
    assert target.seconds(10**12, 0, torch.float32) > target.seconds(10**9, 0, torch.float32)


def test_a_target_comes_back_from_its_file(tmp_path: Path) -> None:
    path = save_target(TARGETS["H100-80GB"], tmp_path / "mine.json")
    assert load_target(path) == TARGETS["H100-80GB"]
    assert chosen_target(str(path)) == TARGETS["H100-80GB"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": 3}', None])
def test_a_file_without_a_target_is_refused(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "mine.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(BadDataError, match="sci-memeff calibrate --out FILE"):
        load_target(path)


def test_a_number_that_is_none_is_refused(tmp_path: Path) -> None:
    path = save_target(Target(**vars(TARGETS["cpu"])), tmp_path / "mine.json")
    told = json.loads(path.read_text()) | {"memory": "large"}
    path.write_text(json.dumps(told))
    with pytest.raises(BadDataError, match="no target can be read"):
        load_target(path)
