"""Triangular self-attention over the pair representation (Algorithms 13 and 14).

Axes: i j k residues, h heads, c channels.
"""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from sci_memeff._types import Mask, Walk, whole
from sci_memeff.alphafold.attention import Attention, mask_bias
from sci_memeff.alphafold.linear import Linear

__all__ = ["TriangleAttention"]


class TriangleAttention(nn.Module):
    """Around the starting node (Algorithm 13) or, on columns, the ending node (Algorithm 14).

    Rows of z, or columns, are independent once the pair bias is known.
    """

    walk: Walk

    def __init__(
        self, c_z: int, c_hidden: int, num_heads: int, node: Literal["starting", "ending"]
    ) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(c_z)
        self.linear = Linear(c_z, num_heads, bias=False, init="normal")
        self.mha = Attention(c_z, c_z, c_hidden, num_heads)
        self.starting = node == "starting"
        self.walk = whole

    def forward(
        self, z: Float[Tensor, "*b i i c_z"], mask: Mask[Tensor, "*b i i"]
    ) -> Float[Tensor, "*b i i c_z"]:
        """The update of z."""
        bias_dim, dim = (-2, -3) if self.starting else (-1, -2)
        bias = self.walk(self.bias, rows=(z,), in_dims=-3, out_dims=bias_dim)
        return self.walk(
            self.lines, rows=(z, mask), shared=(bias,), in_dims=(dim, dim + 1), out_dims=dim
        )

    def bias(self, z: Tensor) -> Float[Tensor, "*b h _ _"]:
        """The pair bias (h, queries, keys) of some rows of z: queries, or keys around the end."""
        bias = self.linear(self.layer_norm(z)).movedim(-1, -3)
        return bias if self.starting else bias.transpose(-1, -2)

    def lines(self, z: Tensor, mask: Tensor, bias: Tensor) -> Tensor:
        """The update of some rows or columns."""
        if not self.starting:
            z, mask = z.transpose(-2, -3), mask.transpose(-1, -2)
        z = self.layer_norm(z)
        update = self.mha(z, z, (mask_bias(mask, z)[..., None, None, :], bias[..., None, :, :, :]))
        return update if self.starting else update.transpose(-2, -3)
