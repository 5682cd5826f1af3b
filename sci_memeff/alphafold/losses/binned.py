"""Losses on binned quantities: which bin is right, and the cross entropy with it."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from sci_memeff._types import Mask

__all__ = ["EPS", "distance_bins", "masked_cross_entropy"]

EPS = 1e-8
"""Added to the count that a sum is divided by, so that a mean over nothing is 0."""


def distance_bins(
    squared: Float[Tensor, "*shape"], first: float, last: float, num_bins: int
) -> Int[Tensor, "*shape"]:
    """The bin of each distance, given squared: 0 up to `first`, num_bins - 1 beyond `last`.

    The breaks are equally far apart; a distance on a break belongs below it.
    """
    breaks = torch.linspace(first, last, num_bins - 1, dtype=squared.dtype, device=squared.device)
    return torch.bucketize(squared, breaks**2)


def masked_cross_entropy(
    logits: Float[Tensor, "*shape bins"], bins: Int[Tensor, "*shape"], mask: Mask[Tensor, "*mask"]
) -> Float[Tensor, "*shape"]:
    """-log of the probability given to the right bin, times the mask.

    In the wider dtype of logits and mask, so half-precision logits do not blur the logarithm.
    """
    dtype = torch.promote_types(logits.dtype, mask.dtype)
    log_p = functional.log_softmax(logits, dim=-1, dtype=dtype)
    return -log_p.gather(-1, bins.unsqueeze(-1)).squeeze(-1) * mask
