"""Attention with additive biases, written out: what every faster form is compared with."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

__all__ = ["attention"]


def attention(
    q: Float[Tensor, "*q i c"],
    k: Float[Tensor, "*k j c"],
    v: Float[Tensor, "*k j d"],
    biases: Sequence[Tensor] = (),
) -> Float[Tensor, "*q i d"]:
    """softmax(q·kᵀ/√c + Σ biases)·v.

    Each bias broadcasts to the logits (*, i, j). Keeps the probabilities for the backward pass:
    i·j numbers a head, against which every leaner form is measured.
    """
    logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    for bias in biases:
        logits = logits + bias
    return logits.softmax(dim=-1).to(v.dtype) @ v  # wider biases make wider logits
