"""The command that times probes; here that it runs, and finds what the modules have."""

from __future__ import annotations

from .command import printed


def test_axes_are_found():
    lines, result = printed("probe", "--repeats", "1")
    assert len(lines) == len(result["axes"]) + 1
    assert result["axes"]["TransformerEncoderLayer(512, 8, 2048)"] == 1
    assert result["axes"]["outer product mean"] == 0
    assert set(result["seconds"]) == set(result["axes"])
