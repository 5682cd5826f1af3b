"""Attention over the MSA: along rows with a pair bias, along columns, and along columns globally.

Axes: s sequences, i j residues, h heads, c channels.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from sci_memeff._types import Mask, Walk, whole
from sci_memeff.alphafold.attention import Attention, GlobalAttention, mask_bias
from sci_memeff.alphafold.linear import Linear

__all__ = ["MSAColumnAttention", "MSAColumnGlobalAttention", "MSARowAttentionWithPairBias"]


class MSARowAttentionWithPairBias(nn.Module):
    """Algorithm 7. Sequences are independent once the pair bias is known."""

    walk: Walk

    def __init__(self, c_m: int, c_z: int, c_hidden: int, num_heads: int) -> None:
        super().__init__()
        self.layer_norm_m = nn.LayerNorm(c_m)
        self.layer_norm_z = nn.LayerNorm(c_z)
        self.linear_z = Linear(c_z, num_heads, bias=False, init="normal")
        self.mha = Attention(c_m, c_m, c_hidden, num_heads)
        self.walk = whole

    def forward(
        self,
        m: Float[Tensor, "*b s i c_m"],
        z: Float[Tensor, "*b i i c_z"],
        mask: Mask[Tensor, "*b s i"],
    ) -> Float[Tensor, "*b s i c_m"]:
        """The update of m."""
        bias = self.walk(self.bias, rows=(z,), in_dims=-3, out_dims=-2)
        return self.walk(self.rows, rows=(m, mask), shared=(bias,), in_dims=(-3, -2), out_dims=-3)

    def bias(self, z: Float[Tensor, "*b i j c_z"]) -> Float[Tensor, "*b h i j"]:
        """The pair bias of some residues i."""
        return self.linear_z(self.layer_norm_z(z)).movedim(-1, -3)

    def rows(self, m: Tensor, mask: Tensor, bias: Tensor) -> Tensor:
        """The update of some sequences."""
        m = self.layer_norm_m(m)
        return self.mha(m, m, (mask_bias(mask, m)[..., None, None, :], bias[..., None, :, :, :]))


class _ColumnAttention(nn.Module):
    """The layers of column attention, a level deeper than MSAColumnAttention in the names."""

    def __init__(self, c_m: int, c_hidden: int, num_heads: int) -> None:
        super().__init__()
        self.layer_norm_m = nn.LayerNorm(c_m)
        self.mha = Attention(c_m, c_m, c_hidden, num_heads)

    def forward(self, m: Tensor, mask: Tensor) -> Tensor:
        m = self.layer_norm_m(m.transpose(-2, -3))
        bias = mask_bias(mask, m).transpose(-1, -2)[..., None, None, :]
        return self.mha(m, m, (bias,)).transpose(-2, -3)


class MSAColumnAttention(nn.Module):
    """Algorithm 8. Residues are independent."""

    walk: Walk

    def __init__(self, c_m: int, c_hidden: int, num_heads: int) -> None:
        super().__init__()
        self._msa_att = _ColumnAttention(c_m, c_hidden, num_heads)
        self.walk = whole

    def forward(
        self, m: Float[Tensor, "*b s i c_m"], mask: Mask[Tensor, "*b s i"]
    ) -> Float[Tensor, "*b s i c_m"]:
        """The update of m."""
        return self.walk(self.columns, rows=(m, mask), in_dims=(-2, -1), out_dims=-2)

    def columns(self, m: Tensor, mask: Tensor) -> Tensor:
        """The update of some residues."""
        return self._msa_att(m, mask)


class MSAColumnGlobalAttention(nn.Module):
    """Algorithm 19, for the extra MSA. Residues are independent."""

    walk: Walk

    def __init__(self, c_m: int, c_hidden: int, num_heads: int) -> None:
        super().__init__()
        self.layer_norm_m = nn.LayerNorm(c_m)
        self.global_attention = GlobalAttention(c_m, c_hidden, num_heads)
        self.walk = whole

    def forward(
        self, m: Float[Tensor, "*b s i c_m"], mask: Mask[Tensor, "*b s i"]
    ) -> Float[Tensor, "*b s i c_m"]:
        """The update of m."""
        return self.walk(self.columns, rows=(m, mask), in_dims=(-2, -1), out_dims=-2)

    def columns(self, m: Tensor, mask: Tensor) -> Tensor:
        """The update of some residues."""
        m = self.layer_norm_m(m.transpose(-2, -3))
        return self.global_attention(m, mask.transpose(-1, -2)).transpose(-2, -3)
