"""Tables are shared by everyone who imports them, so nobody may write into one."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

__all__ = ["frozen"]


def frozen(values: object, dtype: DTypeLike) -> np.ndarray:
    """An array of `values` that refuses writes; index it, or `torch.tensor` it, to get a copy."""
    array = np.array(values, dtype=dtype)
    array.setflags(write=False)
    return array
