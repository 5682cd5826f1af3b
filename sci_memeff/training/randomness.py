"""Random numbers that depend on (seed, sample) alone, so that a step can be taken again exactly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ["sown"]


@contextmanager
def sown(seed: int, *path: int, device: torch.device | None = None) -> Iterator[None]:
    """Seed torch's generators from (seed, *path) inside the block; leave them as found after it.

    `device`'s generator too where it is a CUDA device. Nothing then needs to be carried from step
    to step, and nothing saved: a checkpoint holds the seed and the number of the next sample.
    """
    cuda = [device] if device is not None and device.type == "cuda" else []
    state = np.random.SeedSequence([seed, *path]).generate_state(1, np.uint64)
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(int(state[0]))
        yield
