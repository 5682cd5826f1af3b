"""Other people's attention kernels behind our signature, for benchmarks/kernels.py.

Axes: r rows, h heads, i j residues, c channels. Each takes a mask bias (r, 1, 1, j) first and, if
there is one, a pair bias (1, h, i, j) after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention

from sci_memeff._types import Attend
from sci_memeff.kernels import attention

__all__ = ["forward_only", "has_package", "peers"]

_NO_BACKWARD = {("flex_attention", "cpu"), ("torch sdpa, a row at a time", "cpu")}


def peers(device: str) -> dict[str, Attend]:
    """By the name in the table."""
    found = {
        "torch sdpa": sdpa,
        "torch sdpa, no bias gradient": sdpa_without_bias_gradient,
        "torch sdpa, a row at a time": sdpa_by_row,
        "torch.compile of the reference": compiled,
        "flex_attention": flex,
    }
    return found | {"trifast": trifast} if device == "cuda" else found


def forward_only(name: str, device: str) -> bool:
    """Whether a kernel has no backward pass there, or none with a gradient of the bias."""
    return (name, device) in _NO_BACKWARD


def has_package(name: str) -> bool:
    return name != "trifast" or find_spec("trifast") is not None


def sdpa(q: Tensor, k: Tensor, v: Tensor, biases: Sequence[Tensor] = ()) -> Tensor:
    """With a mask that needs a gradient torch takes its plain path on a CPU, and says nothing."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=sum(biases[1:], biases[0]))


def sdpa_without_bias_gradient(
    q: Tensor, k: Tensor, v: Tensor, biases: Sequence[Tensor] = ()
) -> Tensor:
    """So on a CPU its fused kernel runs, forward and backward; what training needs is missing."""
    return sdpa(q, k, v, [bias.detach() for bias in biases])


def sdpa_by_row(q: Tensor, k: Tensor, v: Tensor, biases: Sequence[Tensor] = ()) -> Tensor:
    """The fused kernel with the sum of the biases of a single row at a time."""
    mask, *pair = biases
    outs = [
        sdpa_without_bias_gradient(
            q[i : i + 1], k[i : i + 1], v[i : i + 1], (mask[i : i + 1], *pair)
        )
        for i in range(len(q))
    ]
    return torch.cat(outs)


@cache
def _compiled(function: Any) -> Any:
    return torch.compile(function, dynamic=False)


def compiled(q: Tensor, k: Tensor, v: Tensor, biases: Sequence[Tensor] = ()) -> Tensor:
    return _compiled(attention)(q, k, v, tuple(biases))


def _flex(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, pair: Tensor | None) -> Tensor:
    def score(score: Tensor, row: Tensor, head: Tensor, i: Tensor, j: Tensor) -> Tensor:
        score = score + mask[row, 0, 0, j]
        return score if pair is None else score + pair[0, head, i, j]

    out = flex_attention(q, k, v, score_mod=score)
    assert isinstance(out, Tensor)
    return out


def flex(q: Tensor, k: Tensor, v: Tensor, biases: Sequence[Tensor] = ()) -> Tensor:
    mask, *pair = biases
    q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
    return _compiled(_flex)(q, k, v, mask, pair[0] if pair else None)


def trifast(q: Tensor, k: Tensor, v: Tensor, biases: Sequence[Tensor] = ()) -> Tensor:
    """Takes (batch, h, r, i, c) and a mask (batch, r, j) that is true where a key is out."""
    from trifast import triangle_attention  # pyright: ignore[reportMissingImports]

    mask, pair = biases
    q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
    out = triangle_attention(q, k, v, pair, (mask < 0)[None, :, 0, 0])
    return out[0].transpose(0, 1)
