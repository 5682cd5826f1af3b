"""Chemistry's numpy tables as tensors."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

__all__ = ["look_up"]


def look_up(
    table: np.ndarray, aatype: Int[Tensor, "*b"], like: Tensor | None = None
) -> Shaped[Tensor, "*rows"]:
    """Each residue's row of `table`, on the device of `aatype` and of the dtype of `like`.

    Tables are copied at each call, a few kilobytes: kept as buffers they would have to be told
    from parameters in every checkpoint, and a cache would outlive simulated devices.
    """
    dtype = None if like is None else like.dtype
    return torch.tensor(table, dtype=dtype, device=aatype.device)[aatype]
