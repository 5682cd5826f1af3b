"""Invariant point attention (Algorithm 22).

Axes: i query residues, j key residues, h heads, p points, c channels.
"""

from __future__ import annotations

from math import log, sqrt

import torch
import torch.nn.functional as F  # noqa: N812 the name everybody knows it by
from jaxtyping import Float
from torch import Tensor, nn

from sci_memeff._types import Mask, Walk, whole
from sci_memeff.alphafold.attention import mask_bias
from sci_memeff.alphafold.config import ModelConfig
from sci_memeff.alphafold.geometry import Rigid
from sci_memeff.alphafold.linear import Linear

__all__ = ["InvariantPointAttention"]


class PointProjection(nn.Module):
    """Points in each residue's frame, from its state, moved to the global frame."""

    def __init__(self, c_s: int, num_heads: int, num_points: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.linear = Linear(c_s, 3 * num_heads * num_points)

    def forward(self, s: Float[Tensor, "*b i c_s"], frames: Rigid) -> Float[Tensor, "*b i h p 3"]:
        """The points."""
        local = self.linear(s).to(frames.translation.dtype).unflatten(-1, (3, -1)).transpose(-1, -2)
        return frames.unsqueeze(-1).apply(local).unflatten(-2, (self.num_heads, -1))


class InvariantPointAttention(nn.Module):
    """Attention by state, pair representation and points in space; invariant to a global motion.

    Query residues are independent once the keys, values and points of all residues are known.
    Distances are expanded into squares and products, so no (i, j, h, p, 3) tensor ever stands.
    """

    walk: Walk

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        h, c = config.num_heads_ipa, config.c_hidden_ipa
        self.num_heads, self.c_hidden = h, c
        self.num_query_points = config.num_query_points
        self.linear_q = Linear(config.c_s, h * c)
        self.linear_kv = Linear(config.c_s, 2 * h * c)
        self.linear_q_points = PointProjection(config.c_s, h, config.num_query_points)
        self.linear_kv_points = PointProjection(
            config.c_s, h, config.num_query_points + config.num_value_points
        )
        self.linear_b = Linear(config.c_z, h)
        # softplus of this is 1: every head starts with the same weight on its points.
        self.head_weights = nn.Parameter(torch.full((h,), log(torch.e - 1)))
        width = h * (c + 4 * config.num_value_points + config.c_z)
        self.linear_out = Linear(width, config.c_s, init="final")
        self.walk = whole

    def forward(
        self,
        s: Float[Tensor, "*b i c_s"],
        z: Float[Tensor, "*b i i c_z"],
        frames: Rigid,
        mask: Mask[Tensor, "*b i"],
    ) -> Float[Tensor, "*b i c_s"]:
        """The update of s; the frames' translations are in units of 10 Å."""
        rotation, translation = frames.rotation, frames.translation
        shared = self.walk(
            self.keys,
            rows=(s, rotation, translation),
            in_dims=(-2, -3, -2),
            out_dims=(-2, -2, -3, -3),
        )
        return self.walk(
            self.queries,
            rows=(s, z, rotation, translation, mask),
            shared=(*shared, mask),
            in_dims=(-2, -3, -3, -2, -1),
            out_dims=-2,
        )

    def keys(
        self, s: Tensor, rotation: Tensor, translation: Tensor
    ) -> tuple[
        Float[Tensor, "*b h j c"],
        Float[Tensor, "*b h j c"],
        Float[Tensor, "*b h j p 3"],
        Float[Tensor, "*b h j q 3"],
    ]:
        """Keys, values, key points and value points of some residues."""
        k, v = self._heads(self.linear_kv(s)).split(self.c_hidden, dim=-1)
        points = self.linear_kv_points(s, Rigid(rotation, translation)).transpose(-3, -4)
        k_points, v_points = points.tensor_split((self.num_query_points,), dim=-2)
        return k, v, k_points, v_points

    def queries(
        self,
        s: Tensor,
        z: Tensor,
        rotation: Tensor,
        translation: Tensor,
        mask: Tensor,
        *shared: Tensor,
    ) -> Tensor:
        """The update of some residues."""
        k, v, k_points, v_points, mask_j = shared
        frames = Rigid(rotation, translation)
        pair_mask = mask[..., :, None] * mask_j[..., None, :]
        q_points = self.linear_q_points(s, frames).transpose(-3, -4)
        logits = (
            self._heads(self.linear_q(s)) @ k.transpose(-1, -2) * sqrt(1 / (3 * self.c_hidden))
            + self.linear_b(z).movedim(-1, -3) * sqrt(1 / 3)
            - self._point_distances(q_points, k_points)
            + mask_bias(pair_mask, s, strength=1e5)[..., None, :, :]
        )
        return self._read(logits.softmax(dim=-1), v, v_points, z, frames)

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(-2, -3)

    def _point_distances(self, q: Tensor, k: Tensor) -> Float[Tensor, "*b h i j"]:
        """Half the weighted sum over points of the squared distances."""
        weight = F.softplus(self.head_weights) * sqrt(2 / (9 * self.num_query_points * 3))
        # About a common centre the squares are small, and little is lost by cancellation.
        centre = k.detach().mean(dim=(-4, -3, -2), keepdim=True)
        q, k = (q - centre).flatten(-2), (k - centre).flatten(-2)
        squares = q.square().sum(-1)[..., :, None] + k.square().sum(-1)[..., None, :]
        return 0.5 * weight[:, None, None] * (squares - 2 * q @ k.transpose(-1, -2))

    def _read(
        self, attention: Tensor, v: Tensor, v_points: Tensor, z: Tensor, frames: Rigid
    ) -> Tensor:
        """Gather values, points (back in each residue's frame), their norms and pairs."""
        values = (attention.to(v.dtype) @ v).transpose(-2, -3).flatten(-2)
        seen = (attention.to(v_points.dtype) @ v_points.flatten(-2)).unflatten(-1, (-1, 3))
        points = frames.unsqueeze(-1).invert_apply(seen.transpose(-3, -4).flatten(-3, -2))
        norms = (points.square().sum(-1) + 1e-8).sqrt()
        pairs = (attention.to(z.dtype).transpose(-2, -3) @ z).flatten(-2)
        gathered = torch.cat([values, *points.unbind(-1), norms, pairs], dim=-1)
        return self.linear_out(gathered.to(self.linear_out.weight.dtype))
