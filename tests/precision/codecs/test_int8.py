"""Whole numbers of 8 bits: a scale a row, or a head."""

from __future__ import annotations

import pytest
import torch

from sci_memeff.precision.codecs import Int8


@pytest.mark.parametrize(("group", "ratio"), [(None, 0.504), (64, 0.516), (32, 0.5315)])
def test_bytes(group, ratio):
    shape = (516, 384, 256)
    plain = torch.empty(shape, dtype=torch.bfloat16, device="meta").nbytes
    assert Int8(group).bytes(shape, torch.bfloat16) / plain == pytest.approx(ratio, abs=5e-4)


def test_a_row_is_a_scale_s():
    """And so is a head: the others' sizes do not matter."""
    x = torch.randn(100, 4, 32, generator=torch.Generator().manual_seed(0))
    x *= 10.0 ** torch.arange(4)[:, None]
    for x_, codec in ((x, Int8()), (x.flatten(-2), Int8(32))):
        found = codec.decode(codec.encode(x_)).view_as(x)
        errors = (found - x).norm(dim=(0, 2)) / x.norm(dim=(0, 2))
        assert errors.min() > 0.004
        assert errors.max() < 0.007
    found = Int8().decode(Int8().encode(x.flatten(-2))).view_as(x)
    assert (found - x)[:, 0].norm() > 0.5 * x[:, 0].norm()


def test_long_rows_are_cut():
    x = torch.randn(5000, generator=torch.Generator().manual_seed(0))
    _, scales = Int8().encode(x).parts
    assert scales.shape == (5,)
    assert Int8().bytes((5000,), torch.float32) == 5010
