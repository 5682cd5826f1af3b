"""Distances between all of some points and all of others, with a slope everywhere."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

__all__ = ["distances"]


def distances(
    x: Float[Tensor, "*#b a 3"], y: Float[Tensor, "*#b c 3"], eps: float
) -> Float[Tensor, "*d a c"]:
    """√(|x − y|² + ε); leading dimensions broadcast. ε, Å², bounds the slope where points meet."""
    return (eps + (x[..., :, None, :] - y[..., None, :, :]).square().sum(-1)).sqrt()
