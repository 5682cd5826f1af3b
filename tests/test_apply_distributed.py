"""Planned models under DDP and FSDP2: gradients are the mean of those of the plain model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.multiprocessing

from .foreign_nets import NETS, answer, assert_same, batch, made
from .planned_processes import WAYS, WORLD, train

TESTS = Path(__file__).parent


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> list[dict]:
    """What each rank left."""
    folder = tmp_path_factory.mktemp("ranks")
    with pytest.MonkeyPatch.context() as patch:
        for each in (TESTS, TESTS.parent):  # spawned processes import `train` by name
            patch.syspath_prepend(str(each))
        torch.multiprocessing.spawn(train, (str(folder),), nprocs=WORLD)
    return [torch.load(folder / f"{rank}.pt") for rank in range(WORLD)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", NETS)
def test_gradients_are_the_mean_of_the_ranks(found, name, way):
    plain = []
    for rank in range(WORLD):
        model = made(name)
        plain.append([answer(model, batch(name, rank)) for _ in range(2)])
    parameters = dict(made(name).named_parameters())
    for step in range(2):
        mean = {key: sum(p[step][key] for p in plain) / WORLD for key in parameters}
        for rank in range(WORLD):
            steps = found[rank][name, way]
            assert parameters.keys() <= steps[step].keys()
            assert_same({key: steps[step][key] for key in parameters}, mean)
            for key in ("y", "x"):
                assert_same({key: steps[step][key]}, {key: plain[rank][step][key]})
