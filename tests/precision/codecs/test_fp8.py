"""FP8 codes: their bytes at AlphaFold 2's shapes, and how far off they are."""

from __future__ import annotations

import pytest
import torch

from sci_memeff.precision.codecs import Fp8

# m, z and the extra MSA: fine-tuning, then initial training
SHAPES = [(516, 384, 256), (384, 384, 128), (5120, 384, 64)]
SHAPES += [(132, 256, 256), (256, 256, 128), (1024, 256, 64)]


@pytest.mark.parametrize("shape", SHAPES)
def test_half_the_bytes_of_bfloat16(shape):
    plain = torch.empty(shape, dtype=torch.bfloat16, device="meta").nbytes
    assert Fp8().bytes(shape, torch.bfloat16) / plain == 0.515625
    assert Fp8().bytes(shape, torch.float32) / (2 * plain) == 0.2578125


@pytest.mark.parametrize("size", [1.0, 3e-20, 5e20])
@pytest.mark.parametrize("largest", [1.0, 30.0])
def test_errors_are_those_of_each_element(size, largest):
    """Few large channels do not take from the others, as long as those are not tiny beside them."""
    x = torch.randn(2000, 128, generator=torch.Generator().manual_seed(0)) * size
    x[:, ::32] *= largest
    found = Fp8().decode(Fp8().encode(x))
    small = torch.arange(128) % 32 > 0
    error = ((found - x) / size)[:, small].norm() / (x / size)[:, small].norm()
    assert 0.011 < error < (0.013 if largest == 1.0 else 0.017)
