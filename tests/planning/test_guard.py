"""The guard counts what lives, and refuses before anything is short."""

import pytest
import torch

from sci_memeff.planning.guard import Guard, available_bytes


def test_live_bytes_and_their_peak():
    x = torch.ones(1000, requires_grad=True)
    with Guard(1 << 30) as guard:
        y = (2 * x).exp()
        assert guard.live == 4000
        assert guard.peak == 8000
        y.view(10, 100)  # no bytes of its own
        y.sum().backward()
        del y
        assert guard.live == 4000  # x.grad
        x.grad = None
        assert guard.live == 0


def test_more_than_there_is():
    with Guard(10_000) as guard:
        torch.ones(2500)
        kept = torch.ones(2000)
        with pytest.raises(torch.OutOfMemoryError, match="4000 bytes were asked for beside 8000"):
            torch.ones(1000)
        assert guard.raised == 1
        assert kept.sum() == 2000


def test_what_the_system_has():
    most = available_bytes()
    assert most is None or 1 << 20 < most < 1 << 50
