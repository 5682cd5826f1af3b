"""One example on its device: what is the same in all passes is there once."""

import numpy as np
import torch

from sci_memeff.data.example import Example
from sci_memeff.training.batch import last_pass, to_batch


def test_shapes_values_and_sharing():
    fixed = np.broadcast_to(np.arange(5.0)[:, None], (5, 3))
    drawn = np.arange(15.0).reshape(5, 3)
    batch = to_batch(Example("a", {"fixed": fixed, "drawn": drawn}), torch.device("cpu"))
    assert batch["fixed"].shape == batch["drawn"].shape == (1, 5, 3)
    assert batch["fixed"].stride(-1) == 0
    assert torch.equal(batch["fixed"][0], torch.tensor(fixed.copy()))
    assert last_pass(batch)["drawn"].tolist() == [[2.0, 5.0, 8.0, 11.0, 14.0]]
