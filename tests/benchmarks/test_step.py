"""The commands that show what a whole training step needs, on networks of two blocks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from sci_memeff import AlphaFold, preset

from .command import printed


def test_the_simulated_step():
    small = ("--blocks", "2", "--crop", "48", "--lengths", "1", "--rows", "9999")
    lines, result = printed("step", "--preset", "initial_training", *small)
    assert set(result) == {"peak_bytes", "states_bytes", "flops_ratio"}
    assert result["states_bytes"] < result["peak_bytes"]
    assert 1 < result["flops_ratio"] <= 1.3
    plain = next(line for line in lines if line.startswith("a checkpoint a block:"))
    assert result["peak_bytes"] < 0.85 * 2**30 * float(plain.split()[4])


def test_boundaries_on_the_host_are_not_on_the_device_and_codes_are_half():
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
    here, there, coded = (
        printed("step", *small, "--lengths", "1", *options)[1]["peak_bytes"]
        for options in ((), ("--offload", "host"), ("--codec", "fp8"))
    )
    assert there < coded < here


def test_a_real_step(real_data):
    small = ("--data", str(real_data), "--blocks", "1", "--crop", "16")
    lines, result = printed("real_step", *small, "--dtype", "bf16")
    assert any(line.startswith("resident before the step") for line in lines)
    assert 0 < result["peak_bytes"] < result["resident_bytes"]
    _, compared = printed("real_step", *small, "--compare")
    assert compared["loss"] == pytest.approx(result["loss"], rel=0.02)
    assert compared["loss_difference"] < 1e-6
    assert compared["worst_gradient_difference"] < 1e-5


def test_moments_in_low_bits_take_fewer_bytes():
    small = ("--blocks", "1", "--crop", "16", "--rows", "9999", "--lengths", "1", "--no-flops")
    _, result = printed("step", "--preset", "initial_training", *small, "--optimizer", "adam8bit")
    with torch.device("meta"):
        model = AlphaFold(replace(preset("initial_training").model, num_evoformer_blocks=1))
    num = sum(p.numel() for p in model.parameters())
    assert 14 * num < result["states_bytes"] < 15 * num  # 20 with moments as they are
