"""The commands that show what a whole training step needs, on networks of two blocks."""

from __future__ import annotations

from .command import printed


def test_the_simulated_step():
    small = ("--blocks", "2", "--crop", "48", "--lengths", "1", "--rows", "9999")
    lines, result = printed("step", "--preset", "initial_training", *small)
    assert set(result) == {"peak_bytes", "states_bytes", "flops_ratio"}
    assert result["states_bytes"] < result["peak_bytes"]
    assert 1 < result["flops_ratio"] <= 1.3
    plain = next(line for line in lines if line.startswith("a checkpoint a block:"))
    assert result["peak_bytes"] < 0.7 * 2**30 * float(plain.split()[4])


def test_boundaries_on_the_host_are_not_on_the_device():
    small = (
        "--preset",
        "initial_training",
        "--blocks",
        "4",
        "--crop",
        "64",
        "--no-flops",
        "--rows",
        "9999",
    )
    here, there = (
        printed("step", *small, "--lengths", "1", *offload)[1]["peak_bytes"]
        for offload in ((), ("--offload", "host"))
    )
    assert there < here


def test_a_real_step(real_data):
    small = ("--blocks", "1", "--crop", "24", "--compare", "16", "--dtype", "bf16")
    lines, result = printed("real_step", "--data", str(real_data), *small)
    assert any(line.startswith("resident before the step") for line in lines)
    assert result["loss_difference"] < 1e-6
    assert result["worst_gradient_difference"] < 1e-5
    assert 0 < result["peak_bytes"] < result["resident_bytes"]
