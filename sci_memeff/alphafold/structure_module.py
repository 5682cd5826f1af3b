"""The structure module (Algorithm 20): frames, torsions and atoms from the representations.

Axes: i residues, c channels. Inside, translations are in units of 10 Å.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sci_memeff._types import Iterate, Mask, in_turn
from sci_memeff.alphafold.config import ModelConfig
from sci_memeff.alphafold.geometry import Rigid, frames_to_atom14, torsions_to_frames
from sci_memeff.alphafold.invariant_point_attention import InvariantPointAttention
from sci_memeff.alphafold.linear import Linear

__all__ = ["StructureModule"]

ANGSTROM_PER_UNIT = 10.0


class StructureModule(nn.Module):
    """Eight passes of one block of shared weights, from all residues at the origin."""

    iterate: Iterate

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.num_iterations = config.num_structure_iterations
        self.layer_norm_s = nn.LayerNorm(config.c_s)
        self.layer_norm_z = nn.LayerNorm(config.c_z)
        self.linear_in = Linear(config.c_s, config.c_s)
        self.ipa = InvariantPointAttention(config)
        self.ipa_dropout = nn.Dropout(config.structure_dropout)
        self.layer_norm_ipa = nn.LayerNorm(config.c_s)
        self.transition = StructureTransition(config)
        self.bb_update = BackboneUpdate(config.c_s)
        self.angle_resnet = AngleResnet(config)
        self.iterate = in_turn

    def forward(
        self,
        single: Float[Tensor, "*b i c_s"],
        z: Float[Tensor, "*b i i c_z"],
        aatype: Int[Tensor, "*b i"],
        mask: Mask[Tensor, "*b i"],
    ) -> dict[str, Tensor]:
        """Frames and torsions after every iteration; atoms, Å, and states after the last.

        frames (n, *b, i, 4, 4), angles and unnormalized_angles (n, *b, i, 7, 2),
        sidechain_frames (*b, i, 8, 4, 4), positions (*b, i, 14, 3), states (*b, i, c_s).
        """
        initial = self.layer_norm_s(single)
        frames = Rigid.identity(mask.shape, like=_in_full_precision(single))
        carries = self.iterate(
            [self.iteration] * self.num_iterations,
            (self.linear_in(initial), frames.rotation, frames.translation),
            context=(self.layer_norm_z(z), mask),
            every=True,
        )
        states, rotations, translations = (
            torch.stack(parts) for parts in zip(*carries, strict=True)
        )
        unnormalized = self.angle_resnet(states, initial).to(rotations.dtype)
        angles = _unit(unnormalized)
        backbone = Rigid(rotations, translations).scale_translation(ANGSTROM_PER_UNIT)
        side_chains = torsions_to_frames(backbone[-1], angles[-1], aatype)
        return {
            "frames": backbone.to_matrix4(),
            "angles": angles,
            "unnormalized_angles": unnormalized,
            "sidechain_frames": side_chains.to_matrix4(),
            "positions": frames_to_atom14(side_chains, aatype),
            "states": states[-1],
        }

    def iteration(
        self, s: Tensor, rotation: Tensor, translation: Tensor, z: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One pass (lines 5–10), from s and frames to s and frames."""
        # No gradient flows through a rotation from one iteration to the next (line 20).
        frames = Rigid(rotation, translation).detach_rotation()
        s = self.layer_norm_ipa(self.ipa_dropout(s + self.ipa(s, z, frames, mask)))
        s = self.transition(s)
        frames = frames.update(self.bb_update(s).to(rotation.dtype))
        return s, frames.rotation, frames.translation


def _in_full_precision(x: Tensor) -> Tensor:
    """A tensor like x for coordinates, which lower precisions than float32 would round to 0.1 Å."""
    return x if x.dtype.itemsize >= 4 else x.float()


def _unit(angles: Float[Tensor, "*b 7 2"]) -> Float[Tensor, "*b 7 2"]:
    return angles / angles.square().sum(-1, keepdim=True).clamp(min=1e-8).sqrt()


class StructureTransition(nn.Module):
    """Lines 8–9 of Algorithm 20."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            StructureTransitionLayer(config.c_s) for _ in range(config.num_transition_layers)
        )
        self.dropout = nn.Dropout(config.structure_dropout)
        self.layer_norm = nn.LayerNorm(config.c_s)

    def forward(self, s: Float[Tensor, "*b i c_s"]) -> Float[Tensor, "*b i c_s"]:
        """The new s."""
        for layer in self.layers:
            s = layer(s)
        return self.layer_norm(self.dropout(s))


class StructureTransitionLayer(nn.Module):
    """Three linear layers and a residual."""

    def __init__(self, c_s: int) -> None:
        super().__init__()
        self.linear_1 = Linear(c_s, c_s, init="relu")
        self.linear_2 = Linear(c_s, c_s, init="relu")
        self.linear_3 = Linear(c_s, c_s, init="final")

    def forward(self, s: Float[Tensor, "*b i c_s"]) -> Float[Tensor, "*b i c_s"]:
        """The new s."""
        return s + self.linear_3(self.linear_2(self.linear_1(s).relu()).relu())


class BackboneUpdate(nn.Module):
    """Three numbers of a quaternion and a translation for each residue (Algorithm 23)."""

    def __init__(self, c_s: int) -> None:
        super().__init__()
        self.linear = Linear(c_s, 6, init="final")

    def forward(self, s: Float[Tensor, "*b i c_s"]) -> Float[Tensor, "*b i 6"]:
        """The update."""
        return self.linear(s)


class AngleResnet(nn.Module):
    """Seven torsions for each residue, as unnormalised sine and cosine (lines 11–14)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.linear_in = Linear(config.c_s, config.c_resnet)
        self.linear_initial = Linear(config.c_s, config.c_resnet)
        self.layers = nn.ModuleList(
            AngleResnetBlock(config.c_resnet) for _ in range(config.num_resnet_blocks)
        )
        self.linear_out = Linear(config.c_resnet, 14)

    def forward(
        self, s: Float[Tensor, "*n i c_s"], initial: Float[Tensor, "*b i c_s"]
    ) -> Float[Tensor, "*n i 7 2"]:
        """The torsions, from the state and from the state before any iteration."""
        a = self.linear_in(s.relu()) + self.linear_initial(initial.relu())
        for layer in self.layers:
            a = layer(a)
        return self.linear_out(a.relu()).unflatten(-1, (7, 2))


class AngleResnetBlock(nn.Module):
    """Two linear layers and a residual."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.linear_1 = Linear(c, c, init="relu")
        self.linear_2 = Linear(c, c, init="final")

    def forward(self, a: Float[Tensor, "*b c"]) -> Float[Tensor, "*b c"]:
        """The new a."""
        return a + self.linear_2(self.linear_1(a.relu()).relu())
