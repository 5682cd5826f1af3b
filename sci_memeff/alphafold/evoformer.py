"""The Evoformer and the extra-MSA stack (Algorithms 6 and 18).

Axes: s sequences, i residues, c channels.
"""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from sci_memeff._types import Iterate, Mask, Walk, in_turn, whole
from sci_memeff.alphafold.config import ModelConfig
from sci_memeff.alphafold.dropout import SharedDropout
from sci_memeff.alphafold.linear import Linear
from sci_memeff.alphafold.msa_attention import (
    MSAColumnAttention,
    MSAColumnGlobalAttention,
    MSARowAttentionWithPairBias,
)
from sci_memeff.alphafold.outer_product_mean import OuterProductMean
from sci_memeff.alphafold.transition import Transition
from sci_memeff.alphafold.triangle_attention import TriangleAttention
from sci_memeff.alphafold.triangle_multiplication import TriangleMultiplication

__all__ = ["EvoformerBlock", "EvoformerStack", "ExtraMSAStack", "PairStack"]


class PairStack(nn.Module):
    """The pair half of a block (Algorithm 6, lines 6–10)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        c_z, heads = config.c_z, config.num_heads_pair
        hidden_mul = config.c_hidden_triangle_multiplication
        hidden_att = config.c_hidden_triangle_attention
        self.tri_mul_out = TriangleMultiplication(c_z, hidden_mul, "outgoing")
        self.tri_mul_in = TriangleMultiplication(c_z, hidden_mul, "incoming")
        self.tri_att_start = TriangleAttention(c_z, hidden_att, heads, "starting")
        self.tri_att_end = TriangleAttention(c_z, hidden_att, heads, "ending")
        self.pair_transition = Transition(c_z, config.transition_factor)
        self.dropout_row = SharedDropout(config.pair_dropout, dim=-3)
        self.dropout_column = SharedDropout(config.pair_dropout, dim=-2)

    def forward(
        self, z: Float[Tensor, "*b i i c_z"], mask: Mask[Tensor, "*b i i"]
    ) -> Float[Tensor, "*b i i c_z"]:
        """The new z."""
        z = z + self.dropout_row(self.tri_mul_out(z, mask))
        z = z + self.dropout_row(self.tri_mul_in(z, mask))
        z = z + self.dropout_row(self.tri_att_start(z, mask))
        z = z + self.dropout_column(self.tri_att_end(z, mask))
        return z + self.pair_transition(z)


class EvoformerBlock(nn.Module):
    """One block of the Evoformer (Algorithm 6) or of the narrow extra-MSA stack (Algorithm 18).

    Column attention and the MSA transition are independent by residue, together as well.
    """

    walk: Walk

    def __init__(self, config: ModelConfig, stack: Literal["evoformer", "extra_msa"]) -> None:
        super().__init__()
        extra = stack == "extra_msa"
        c_m = config.c_e if extra else config.c_m
        hidden = config.c_hidden_extra_msa if extra else config.c_hidden_msa
        column_attention = MSAColumnGlobalAttention if extra else MSAColumnAttention
        self.msa_att_row = MSARowAttentionWithPairBias(
            c_m, config.c_z, hidden, config.num_heads_msa
        )
        self.msa_att_col = column_attention(c_m, hidden, config.num_heads_msa)
        self.msa_transition = Transition(c_m, config.transition_factor)
        self.outer_product_mean = OuterProductMean(c_m, config.c_z, config.c_hidden_opm)
        self.pair_stack = PairStack(config)
        self.dropout_row = SharedDropout(config.msa_dropout, dim=-3)
        self.walk = whole

    def forward(
        self,
        m: Float[Tensor, "*b s i c_m"],
        z: Float[Tensor, "*b i i c_z"],
        msa_mask: Mask[Tensor, "*b s i"],
        pair_mask: Mask[Tensor, "*b i i"],
    ) -> tuple[Float[Tensor, "*b s i c_m"], Float[Tensor, "*b i i c_z"]]:
        """The new m and z."""
        m = m + self.dropout_row(self.msa_att_row(m, z, msa_mask))
        m = self.walk(self.columns, rows=(m, msa_mask), in_dims=(-2, -1), out_dims=-2)
        z = z + self.outer_product_mean(m, msa_mask)
        return m, self.pair_stack(z, pair_mask)

    def columns(self, m: Tensor, mask: Tensor) -> Tensor:
        """The new m of some residues, after column attention and transition."""
        m = m + self.msa_att_col(m, mask)
        return m + self.msa_transition(m)


class EvoformerStack(nn.Module):
    """The Evoformer (Algorithm 6)."""

    iterate: Iterate

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            EvoformerBlock(config, "evoformer") for _ in range(config.num_evoformer_blocks)
        )
        self.linear = Linear(config.c_m, config.c_s)
        self.iterate = in_turn

    def forward(
        self,
        m: Float[Tensor, "*b s i c_m"],
        z: Float[Tensor, "*b i i c_z"],
        msa_mask: Mask[Tensor, "*b s i"],
        pair_mask: Mask[Tensor, "*b i i"],
    ) -> tuple[Tensor, Tensor, Float[Tensor, "*b i c_s"]]:
        """The new m and z, and the single representation from the MSA's first row."""
        m, z = self.iterate(list(self.blocks), (m, z), context=(msa_mask, pair_mask))[-1]
        return m, z, self.linear(m[..., 0, :, :])


class ExtraMSAStack(nn.Module):
    """The stack that reads the extra MSA and leaves only a better z (Algorithm 18)."""

    iterate: Iterate

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            EvoformerBlock(config, "extra_msa") for _ in range(config.num_extra_msa_blocks)
        )
        self.iterate = in_turn

    def forward(
        self,
        m: Float[Tensor, "*b s i c_e"],
        z: Float[Tensor, "*b i i c_z"],
        msa_mask: Mask[Tensor, "*b s i"],
        pair_mask: Mask[Tensor, "*b i i"],
    ) -> Float[Tensor, "*b i i c_z"]:
        """The new z."""
        return self.iterate(list(self.blocks), (m, z), context=(msa_mask, pair_mask))[-1][1]
