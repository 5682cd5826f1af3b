"""Walks under DDP: each parameter is reduced once, and its gradient is the mean of the ranks'."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.multiprocessing

from .modules import assert_same, double, mixed_inputs
from .processes import WORLD, Twice, data_parallel

TESTS = Path(__file__).parents[1]


def test_data_parallel(tmp_path, monkeypatch):
    for folder in (TESTS, TESTS.parent):  # spawned processes import `data_parallel` by name
        monkeypatch.syspath_prepend(str(folder))
    torch.multiprocessing.spawn(data_parallel, (str(tmp_path),), nprocs=WORLD)
    plain = double(Twice(size=None))
    for rank in range(WORLD):
        plain(*mixed_inputs(7, seed=rank)).backward()
    wanted = {name: p.grad / WORLD for name, p in plain.named_parameters() if p.requires_grad}
    for rank in range(WORLD):
        gradients, counts = torch.load(tmp_path / f"{rank}.pt")
        assert gradients.keys() == wanted.keys()
        assert_same(list(gradients.values()), list(wanted.values()))
        assert counts == [(sorted(wanted), sorted(wanted))] * 2
