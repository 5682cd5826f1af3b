"""The command that compares other people's models; here their small steps."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from .command import printed

PACKAGES = {"openfold3": "openfold3", "boltz": "boltz", "aurora": "aurora", "mace": "mace"}


@pytest.mark.parametrize("name", PACKAGES)
def test_it_tells_peaks_flops_and_the_worst_gradient(name):
    if find_spec(PACKAGES[name]) is None:
        pytest.skip(f"{name} is not installed here; `make test-foreign` has it")
    lines, result = printed("foreign", name, "--small")
    assert result.keys() == {
        "plain_peak_bytes",
        "planned_peak_bytes",
        "predicted_peak_bytes",
        "flops_ratio",
        "worst_gradient_error",
    }
    assert result["planned_peak_bytes"] < result["plain_peak_bytes"]
    assert 1 < result["flops_ratio"] <= 1.6  # of small steps; what counts in a plan is time
    predicted = pytest.approx(result["planned_peak_bytes"], rel=0.01)
    assert result["predicted_peak_bytes"] == predicted
    assert result["worst_gradient_error"] <= 1e-9
    assert [line.split()[0] for line in lines if "GiB" in line] == ["plain", "planned"]
