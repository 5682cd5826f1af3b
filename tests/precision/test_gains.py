"""Which layers gain by FP8."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sci_memeff.alphafold.linear import Linear
from sci_memeff.precision.gains import gains, reasons


class Scaled(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return 2 * super().forward(input)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (nn.Linear(128, 512), None),
        (Linear(256, 128, bias=False), None),
        (nn.Linear(128, 64), "its inner dimension 64 is below 128"),
        (nn.Linear(32, 1024), "its inner dimension 32 is below 128"),
        (nn.Linear(128, 8), "its shape, 128 → 8, is no multiple of 16"),
        (nn.Linear(449, 256), "its shape, 449 → 256, is no multiple of 16"),
        (Scaled(128, 128), "Scaled has a forward of its own"),
        (nn.Conv2d(128, 128, 1), "it is a Conv2d, and no nn.Linear"),
    ],
)
def test_layers_that_gain_and_reasons_why_others_do_not(layer, reason):
    found = gains(layer)
    assert (found is None) == (reason is None)
    assert reason is None or found.startswith(reason)


def test_reasons_of_a_model_as_a_mapping_and_a_table():
    blocks = [nn.Sequential(nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 4)) for _ in range(3)]
    with torch.device("meta"):
        found = reasons(nn.ModuleDict({"blocks": nn.ModuleList(blocks)}))
    assert list(found) == [f"blocks.{i}.{k}" for i in range(3) for k in (0, 2)]
    assert found["blocks.1.0"] is None
    assert "multiple of 16" in found["blocks.1.2"]
    head, *rows = str(found).splitlines()
    assert head.split() == ["layers", "shape", "FP8"]
    assert [row.split("  ")[0] for row in rows] == ["3 × blocks.*.*", "3 × blocks.*.*"]
    assert rows[0].endswith("128 → 128  gains")
    assert rows[1].endswith("128 → 4, is no multiple of 16")
