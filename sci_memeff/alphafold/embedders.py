"""From features to m, z and the extra MSA; and from the last pass back in (Algorithms 3, 4, 32).

Axes: s sequences, i j residues, c channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 the name everybody knows it by
from jaxtyping import Float, Int
from torch import Tensor, nn

from sci_memeff._types import Walk, whole
from sci_memeff.alphafold.config import ModelConfig
from sci_memeff.alphafold.linear import Linear

__all__ = ["ExtraMSAEmbedder", "InputEmbedder", "RecyclingEmbedder", "one_hot_distances"]


def one_hot_distances(
    x: Float[Tensor, "*b i 3"], y: Float[Tensor, "*b j 3"], edges: Float[Tensor, " bins"]
) -> Float[Tensor, "*b i j bins"]:
    """One-hot bins of the distances from x to y; Å.

    Bin b holds distances strictly between its edge and the next one; the last is open above, and
    distances below the first edge are in no bin.
    """
    squared = (x[..., :, None, :] - y[..., None, :, :]).square().sum(-1, keepdim=True)
    lower = edges.square()
    upper = torch.cat([lower[1:], lower.new_tensor([1e8])])
    return ((squared > lower) & (squared < upper)).to(x.dtype)


class InputEmbedder(nn.Module):
    """m and z from the target's and the MSA's features (Algorithms 3 and 4)."""

    walk: Walk

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.max_relative_position = config.max_relative_position
        self.linear_tf_z_i = Linear(22, config.c_z)
        self.linear_tf_z_j = Linear(22, config.c_z)
        self.linear_tf_m = Linear(22, config.c_m)
        self.linear_msa_m = Linear(49, config.c_m)
        self.linear_relpos = Linear(2 * config.max_relative_position + 1, config.c_z)
        self.walk = whole

    def forward(
        self,
        target_feat: Float[Tensor, "*b i 22"],
        residue_index: Int[Tensor, "*b i"],
        msa_feat: Float[Tensor, "*b s i 49"],
    ) -> tuple[Float[Tensor, "*b s i c_m"], Float[Tensor, "*b i i c_z"]]:
        """M and z."""
        dtype = self.linear_msa_m.weight.dtype
        target_feat, msa_feat = target_feat.to(dtype), msa_feat.to(dtype)
        right = self.linear_tf_z_j(target_feat)
        z = self.walk(
            self.rows,
            rows=(target_feat, residue_index),
            shared=(right, residue_index),
            in_dims=(-2, -1),
            out_dims=-3,
        )
        m = self.linear_msa_m(msa_feat) + self.linear_tf_m(target_feat)[..., None, :, :]
        return m, z

    def rows(self, target_feat: Tensor, index: Tensor, right: Tensor, index_j: Tensor) -> Tensor:
        """Some rows i of z."""
        reach = self.max_relative_position
        offset = (index[..., :, None] - index_j[..., None, :]).clamp(-reach, reach) + reach
        position = F.one_hot(offset, 2 * reach + 1).to(target_feat.dtype)
        left = self.linear_tf_z_i(target_feat)
        return left[..., :, None, :] + right[..., None, :, :] + self.linear_relpos(position)


class RecyclingEmbedder(nn.Module):
    """What the last pass adds to the first row of m and to z (Algorithm 32)."""

    walk: Walk

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.linear = Linear(15, config.c_z)
        self.layer_norm_m = nn.LayerNorm(config.c_m)
        self.layer_norm_z = nn.LayerNorm(config.c_z)
        self.walk = whole

    def forward(
        self,
        m_first: Float[Tensor, "*b i c_m"],
        z: Float[Tensor, "*b i i c_z"],
        pseudo_beta: Float[Tensor, "*b i 3"],
    ) -> tuple[Float[Tensor, "*b i c_m"], Float[Tensor, "*b i i c_z"]]:
        """The updates of m's first row and of z, from the last pass's; positions in Å."""
        z_update = self.walk(
            self.rows,
            rows=(z, pseudo_beta),
            shared=(pseudo_beta,),
            in_dims=(-3, -2),
            out_dims=-3,
        )
        return self.layer_norm_m(m_first), z_update

    def rows(self, z: Tensor, x: Tensor, x_j: Tensor) -> Tensor:
        """The update of some rows i of z."""
        edges = torch.linspace(3.25, 20.75, 15, dtype=x.dtype, device=x.device)
        bins = one_hot_distances(x, x_j, edges).to(z.dtype)
        return self.linear(bins) + self.layer_norm_z(z)


class ExtraMSAEmbedder(nn.Module):
    """The extra MSA's letters and deletions, embedded (Algorithm 2, line 15).

    Sequences are independent. A one-hot letter is 23 integers of eight bytes.
    """

    walk: Walk

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.linear = Linear(25, config.c_e)
        self.walk = whole

    def forward(
        self,
        letters: Int[Tensor, "*b s i"],
        has_deletion: Float[Tensor, "*b s i"],
        deletion_value: Float[Tensor, "*b s i"],
    ) -> Float[Tensor, "*b s i c_e"]:
        """The extra MSA representation."""
        rows = (letters, has_deletion, deletion_value)
        return self.walk(self.rows, rows=rows, in_dims=-2, out_dims=-3)

    def rows(self, letters: Tensor, has_deletion: Tensor, deletion_value: Tensor) -> Tensor:
        """Some sequences of it."""
        dtype = self.linear.weight.dtype
        deletions = torch.stack([has_deletion, deletion_value], dim=-1).to(dtype)
        return self.linear(torch.cat([F.one_hot(letters, 23).to(dtype), deletions], dim=-1))
