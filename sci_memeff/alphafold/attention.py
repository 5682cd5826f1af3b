"""Gated multi-head attention, the core of every attention of the Evoformer.

Axes: i queries, j keys, h heads, c channels.
"""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from sci_memeff._types import Attend, Mask
from sci_memeff.alphafold.linear import Linear
from sci_memeff.kernels import attention

__all__ = ["Attention", "GlobalAttention", "mask_bias"]


def mask_bias(
    mask: Mask[Tensor, "*shape"], like: Tensor, strength: float = 1e9
) -> Float[Tensor, "*shape"]:
    """0 where the mask holds and -strength where it does not, in the dtype of `like`.

    Finite, so a row without any key attends to all of them, evenly in float32, and gives no NaN.
    """
    return (mask.to(like.dtype) - 1) * strength


class Attention(nn.Module):
    """Multi-head attention, gated by the queries' own features unless `gated` is false."""

    attend: Attend

    def __init__(
        self, c_q: int, c_kv: int, c_hidden: int, num_heads: int, *, gated: bool = True
    ) -> None:
        super().__init__()
        width = c_hidden * num_heads
        self.num_heads = num_heads
        self.linear_q = Linear(c_q, width, bias=False, init="glorot")
        self.linear_k = Linear(c_kv, width, bias=False, init="glorot")
        self.linear_v = Linear(c_kv, width, bias=False, init="glorot")
        self.linear_o = Linear(width, c_q, init="final")
        self.linear_g = Linear(c_q, width, init="gating") if gated else None
        self.attend = attention

    def forward(
        self,
        x_q: Float[Tensor, "*b i c_q"],
        x_kv: Float[Tensor, "*b j c_kv"],
        biases: Sequence[Tensor] = (),
    ) -> Float[Tensor, "*b i c_q"]:
        """Attend from x_q to x_kv; every bias broadcasts to (*b, h, i, j)."""
        q = self._heads(self.linear_q(x_q))
        k = self._heads(self.linear_k(x_kv))
        v = self._heads(self.linear_v(x_kv))
        out = self.attend(q, k, v, biases).transpose(-2, -3).flatten(-2)
        if self.linear_g is not None:
            out = out * self.linear_g(x_q).sigmoid()
        return self.linear_o(out)

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(-2, -3)


class GlobalAttention(nn.Module):
    """Attention of one averaged query a column over that column (Algorithm 19).

    The keys and values have a single head; the logits are (h, s) a column and not (h, s, s).
    """

    def __init__(self, c_in: int, c_hidden: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.c_hidden = c_hidden
        self.linear_q = Linear(c_in, c_hidden * num_heads, bias=False, init="glorot")
        self.linear_k = Linear(c_in, c_hidden, bias=False, init="glorot")
        self.linear_v = Linear(c_in, c_hidden, bias=False, init="glorot")
        self.linear_g = Linear(c_in, c_hidden * num_heads, init="gating")
        self.linear_o = Linear(c_hidden * num_heads, c_in, init="final")

    def forward(
        self, m: Float[Tensor, "*b s c"], mask: Mask[Tensor, "*b s"]
    ) -> Float[Tensor, "*b s c"]:
        """Attend along s."""
        weight = mask.to(m.dtype)[..., None]
        mean = (m * weight).sum(-2) / (weight.sum(-2) + 1e-8)
        q = self.linear_q(mean).unflatten(-1, (self.num_heads, -1)) * self.c_hidden**-0.5
        logits = q @ self.linear_k(m).transpose(-1, -2) + mask_bias(mask, m)[..., None, :]
        out = logits.softmax(dim=-1) @ self.linear_v(m)
        gate = self.linear_g(m).sigmoid().unflatten(-1, (self.num_heads, -1))
        return self.linear_o((gate * out[..., None, :, :]).flatten(-2))
