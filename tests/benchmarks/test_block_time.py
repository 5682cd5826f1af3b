"""The command that times blocks; here that it runs, on blocks too small to say anything."""

from __future__ import annotations

import pytest

from .command import printed


@pytest.mark.parametrize("more", [(), ("--blocks", "2", "--length", "1", "--dtype", "bf16")])
def test_both_are_timed(more):
    lines, result = printed("block_time", "--n-seq", "3", "--n-res", "5", *more)
    assert len([line for line in lines if line.startswith("ours ")]) == 6
    assert result["ratio"] == pytest.approx(result["ours_s"] / result["peer_s"], rel=0.05)
