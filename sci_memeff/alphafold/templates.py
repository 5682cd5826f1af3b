"""Templates: pair features, their stack, and pointwise attention (Algorithms 2, 16 and 17).

Axes: t templates, i j residues, c channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 the name everybody knows it by
from jaxtyping import Float
from torch import Tensor, nn

from sci_memeff._types import Iterate, Mask, Walk, in_turn, whole
from sci_memeff.alphafold.attention import Attention, mask_bias
from sci_memeff.alphafold.config import ModelConfig
from sci_memeff.alphafold.dropout import SharedDropout
from sci_memeff.alphafold.embedders import one_hot_distances
from sci_memeff.alphafold.geometry import Rigid
from sci_memeff.alphafold.linear import Linear
from sci_memeff.alphafold.transition import Transition
from sci_memeff.alphafold.triangle_attention import TriangleAttention
from sci_memeff.alphafold.triangle_multiplication import TriangleMultiplication
from sci_memeff.chemistry import ATOM37_INDEX

__all__ = ["TemplateEmbedder"]

_NUM_LETTERS = 22  # the twenty residues, X and the gap


class TemplatePairEmbedder(nn.Module):
    """Distances, residue types and frames of each template, embedded (Suppl. 1.7.1, Table 1)."""

    walk: Walk

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.linear = Linear(88, config.c_t, init="relu")
        self.unit_vectors = config.template_unit_vectors
        self.walk = whole

    def forward(self, features: dict[str, Tensor]) -> Float[Tensor, "*b t i i c_t"]:
        """The embedded pair features."""
        frames, frame_mask = backbone_frames(
            features["template_all_atom_positions"], features["template_all_atom_mask"]
        )
        letters = F.one_hot(features["template_aatype"], _NUM_LETTERS).to(frame_mask.dtype)
        residues = (
            features["template_pseudo_beta"],
            features["template_pseudo_beta_mask"],
            letters,
            frame_mask,
            frames.translation,
        )
        return self.walk(
            self.rows,
            rows=(*residues, frames.rotation),
            shared=residues,
            in_dims=(-2, -1, -2, -1, -2, -3),
            out_dims=-3,
        )

    def rows(self, *residues: Tensor) -> Tensor:
        """Some rows i: their residues' features and frames, then every residue's features."""
        beta, beta_mask, letters, frame_mask, origin, rotation, *others = residues
        beta_j, beta_mask_j, letters_j, frame_mask_j, origin_j = others
        i, j = beta_mask.shape[-1], beta_mask_j.shape[-1]
        edges = torch.linspace(3.25, 50.75, 39, dtype=beta.dtype, device=beta.device)
        has_frames = (frame_mask[..., :, None] * frame_mask_j[..., None, :])[..., None]
        features = [
            one_hot_distances(beta, beta_j, edges),
            (beta_mask[..., :, None] * beta_mask_j[..., None, :])[..., None],
            letters_j[..., None, :, :].expand(*letters_j.shape[:-2], i, -1, -1),
            letters[..., :, None, :].expand(*letters.shape[:-2], -1, j, -1),
            self._directions(Rigid(rotation, origin), origin_j) * has_frames,
            has_frames,
        ]
        pair = torch.cat(features, dim=-1) * has_frames
        return self.linear(pair.to(self.linear.weight.dtype))

    def _directions(self, frames: Rigid, origin_j: Tensor) -> Float[Tensor, "*b i j 3"]:
        # The published networks were trained with these three features at zero.
        local = frames.unsqueeze(-1).invert_apply(origin_j[..., None, :, :])
        if not self.unit_vectors:
            return torch.zeros_like(local)
        return local * torch.rsqrt(local.square().sum(-1, keepdim=True) + 1e-8)


def backbone_frames(
    positions: Float[Tensor, "*b i 37 3"], mask: Mask[Tensor, "*b i 37"]
) -> tuple[Rigid, Float[Tensor, "*b i"]]:
    """Frames of N, Cα and C (Algorithm 21), and whether all three atoms are there."""
    atoms = [ATOM37_INDEX[name] for name in ("N", "CA", "C")]
    n, ca, c = positions[..., atoms, :].unbind(-2)
    frames = Rigid.from_three_points(2 * ca - c, ca, n)  # C lies on the positive x axis
    exists = mask[..., atoms].prod(-1)
    return frames, exists.to(positions.dtype)


class TemplatePairBlock(nn.Module):
    """One block of the template pair stack (Algorithm 16): attention first, as in the weights."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        c_t, heads = config.c_t, config.num_heads_pair
        hidden_att = config.c_hidden_template_attention
        hidden_mul = config.c_hidden_template_multiplication
        self.tri_att_start = TriangleAttention(c_t, hidden_att, heads, "starting")
        self.tri_att_end = TriangleAttention(c_t, hidden_att, heads, "ending")
        self.tri_mul_out = TriangleMultiplication(c_t, hidden_mul, "outgoing")
        self.tri_mul_in = TriangleMultiplication(c_t, hidden_mul, "incoming")
        self.pair_transition = Transition(c_t, config.template_transition_factor)
        self.dropout_row = SharedDropout(config.pair_dropout, dim=-3)
        self.dropout_column = SharedDropout(config.pair_dropout, dim=-2)

    def forward(
        self, t: Float[Tensor, "*b t i i c_t"], mask: Mask[Tensor, "*b t i i"]
    ) -> tuple[Float[Tensor, "*b t i i c_t"]]:
        """The new template pair representation, alone in a tuple."""
        t = t + self.dropout_row(self.tri_att_start(t, mask))
        t = t + self.dropout_column(self.tri_att_end(t, mask))
        t = t + self.dropout_row(self.tri_mul_out(t, mask))
        t = t + self.dropout_row(self.tri_mul_in(t, mask))
        return (t + self.pair_transition(t),)


class TemplatePairStack(nn.Module):
    """Algorithm 16, every template by itself."""

    iterate: Iterate

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            TemplatePairBlock(config) for _ in range(config.num_template_blocks)
        )
        self.layer_norm = nn.LayerNorm(config.c_t)
        self.iterate = in_turn

    def forward(
        self, t: Float[Tensor, "*b t i i c_t"], mask: Mask[Tensor, "*b t i i"]
    ) -> Float[Tensor, "*b t i i c_t"]:
        """The processed template pair representation."""
        return self.layer_norm(self.iterate(list(self.blocks), (t,), context=(mask,))[-1][0])


class TemplatePointwiseAttention(nn.Module):
    """Each element of z attends to the same element of the templates (Algorithm 17)."""

    walk: Walk

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.mha = Attention(
            config.c_z,
            config.c_t,
            config.c_hidden_template_attention,
            config.num_heads_pair,
            gated=False,
        )
        self.walk = whole

    def forward(
        self,
        z: Float[Tensor, "*b i i c_z"],
        t: Float[Tensor, "*b t i i c_t"],
        mask: Mask[Tensor, "*b t"],
    ) -> Float[Tensor, "*b i i c_z"]:
        """The update of z, before templates that are all padding are taken out."""
        return self.walk(self.rows, rows=(z, t), shared=(mask,), in_dims=(-3, -3), out_dims=-3)

    def rows(self, z: Tensor, t: Tensor, mask: Tensor) -> Tensor:
        """The update of some rows i."""
        bias = mask_bias(mask, t, strength=1e5)[..., None, None, None, None, :]
        return self.mha(z[..., None, :], t.movedim(-4, -2), (bias,)).squeeze(-2)


class TemplateTorsionEmbedder(nn.Module):
    """Residue types and torsions of each template, as further rows of m (Algorithm 2, line 7)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.linear_1 = Linear(57, config.c_m, init="relu")
        self.linear_2 = Linear(config.c_m, config.c_m, init="relu")

    def forward(self, features: dict[str, Tensor]) -> Float[Tensor, "*b t i c_m"]:
        """The rows."""
        mask = features["template_torsion_angles_mask"]
        torsions = torch.cat(
            [
                F.one_hot(features["template_aatype"], _NUM_LETTERS).to(mask.dtype),
                features["template_torsion_angles_sin_cos"].flatten(-2),
                features["template_alt_torsion_angles_sin_cos"].flatten(-2),
                mask,
            ],
            dim=-1,
        )
        return self.linear_2(self.linear_1(torsions.to(self.linear_1.weight.dtype)).relu())


class TemplateEmbedder(nn.Module):
    """Everything that templates add to z and to m (Algorithm 2, lines 7–13)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.template_pair_embedder = TemplatePairEmbedder(config)
        self.template_pair_stack = TemplatePairStack(config)
        self.template_pointwise_att = TemplatePointwiseAttention(config)
        self.template_single_embedder = (
            TemplateTorsionEmbedder(config) if config.template_torsions else None
        )

    def forward(
        self,
        features: dict[str, Tensor],
        z: Float[Tensor, "*b i i c_z"],
        pair_mask: Mask[Tensor, "*b i i"],
    ) -> Float[Tensor, "*b i i c_z"]:
        """The update of z."""
        mask = features["template_mask"]
        t = self.template_pair_embedder(features)
        t = self.template_pair_stack(t, pair_mask[..., None, :, :].expand(t.shape[:-1]))
        any_template = (mask.sum(-1) > 0).to(z.dtype)[..., None, None, None]
        return self.template_pointwise_att(z, t, mask) * any_template

    def rows(
        self, features: dict[str, Tensor]
    ) -> tuple[Float[Tensor, "*b t i c_m"], Mask[Tensor, "*b t i"]] | None:
        """The further rows of m and their mask, unless the network takes no torsions."""
        if self.template_single_embedder is None:
            return None
        # Of the seven torsions it is φ whose mask stands for the row's.
        return self.template_single_embedder(features), features["template_torsion_angles_mask"][
            ..., 2
        ]
