"""A loss need not be scaled for bf16 and FP8: nothing underflows that matters, on a real step."""

from __future__ import annotations

from .command import printed


def test_low_precision_loses_nothing_that_a_scaled_loss_would_save() -> None:
    small = ("--crop", "16", "--blocks", "1", "--clusters", "8", "--extra", "8", "--warm", "2")
    _, result = printed("loss_scaling", *small, "--recipes", "bf16", "fp8")
    formats = result["formats"]
    assert formats["bf16"] == {"share": 0.0, "norm_share": 0.0}  # float32's range of exponents
    for name in ("e5m2, amax of tensors", "e4m3, amax of tensors", "e4m3, amax of rows"):
        assert formats[name]["share"] < 1e-2
        assert formats[name]["norm_share"] < 1e-8
    # the same count finds what does underflow
    assert formats["fp16"]["share"] > 0.01
    assert formats["e4m3"]["share"] > 0.5
    for found in result["recipes"].values():
        assert found == {"same_bits": 1.0, "difference": 0.0}
