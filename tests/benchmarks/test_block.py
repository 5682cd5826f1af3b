"""The commands that show what one Evoformer block needs, and the bars that it must keep."""

from __future__ import annotations

import pytest

from .command import printed

# GB over inputs, parameters and output gradients at (128, 256); OpenFold v2 needs 2.02 and 4.04
BARS = {"bf16": 0.22, "fp32": 0.45}


@pytest.mark.parametrize("dtype", BARS)
def test_a_block_keeps_its_bar(dtype):
    lines, result = printed("block", "--n-seq", "128", "--n-res", "256", "--dtype", dtype)
    peaks = {line[:26].strip(): float(line[26:].split()[0]) for line in lines[2:-1]}
    *others, ours = peaks.values()
    assert list(peaks)[2] == "two lines"
    assert ours < min(others) / 2
    assert result["peak_over_bytes"] / 1e9 <= BARS[dtype]
    assert result["plain_peak_over_bytes"] / result["peak_over_bytes"] > 9
    assert result["flops_ratio"] < 1.06


def test_a_real_run_has_the_bytes_that_the_simulation_says():
    small = ("--n-seq", "12", "--n-res", "20", "--dtype", "fp32")
    _, simulated = printed("block", *small)
    lines, real = printed("block", *small, "--real")
    assert "ours, a real run" in lines[-2]
    assert real == simulated
