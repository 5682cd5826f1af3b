"""From a residue's torsion angles to the frames of its rigid groups, and to its atoms.

Axes: n residues, 7 torsions (pre-omega, phi, psi, χ1 to χ4), 8 groups (the backbone before those).
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sci_memeff.alphafold.geometry.rigid import Rigid
from sci_memeff.alphafold.geometry.rotation import rotate, rotation_about_x
from sci_memeff.alphafold.geometry.tables import look_up
from sci_memeff.chemistry import (
    ATOM14_GROUP,
    ATOM14_MASK,
    ATOM14_POSITIONS,
    CHI1,
    DEFAULT_FRAMES,
    NUM_GROUPS,
)

__all__ = ["frames_to_atom14", "torsions_to_frames"]


def torsions_to_frames(
    backbone: Rigid, angles: Float[Tensor, "*b n 7 2"], aatype: Int[Tensor, "*b n"]
) -> Rigid:
    """Frames (*b, n, 8) of every group, from backbone frames (*b, n) in Å (Algorithm 24).

    `angles` are (sine, cosine) and should have length 1: they are used as they are. Groups that a
    residue lacks get no rotation but a zero matrix; `chemistry.GROUP_EXISTS` tells them.
    """
    default = Rigid.from_matrix4(look_up(DEFAULT_FRAMES, aatype, like=backbone.translation))
    straight = angles.new_tensor([0.0, 1.0]).expand(*angles.shape[:-2], 1, 2)
    turn = rotation_about_x(torch.cat([straight, angles], dim=-2))
    turned = default @ Rigid(turn, torch.zeros_like(default.translation))
    chain = [turned[..., CHI1]]
    for group in range(CHI1 + 1, NUM_GROUPS):
        chain.append(chain[-1] @ turned[..., group])
    rotations = torch.stack([frame.rotation for frame in chain], dim=-3)
    translations = torch.stack([frame.translation for frame in chain], dim=-2)
    on_backbone = Rigid(
        torch.cat([turned.rotation[..., :CHI1, :, :], rotations], dim=-3),
        torch.cat([turned.translation[..., :CHI1, :], translations], dim=-2),
    )
    return backbone[..., None] @ on_backbone


def frames_to_atom14(frames: Rigid, aatype: Int[Tensor, "*b n"]) -> Float[Tensor, "*b n 14 3"]:
    """Ideal atoms placed by the frames (*b, n, 8) of their groups, Å (Algorithm 24).

    Atoms that a residue lacks are at zero.
    """
    like = frames.translation
    places = look_up(ATOM14_POSITIONS, aatype, like)
    # A selection by sums, since the gradient of a gather adds up in no fixed order on a GPU.
    groups = torch.arange(NUM_GROUPS, device=aatype.device)
    chosen = (look_up(ATOM14_GROUP, aatype)[..., None] == groups).to(like.dtype)
    rotation = (chosen[..., None, None] * frames.rotation[..., None, :, :, :]).sum(-3)
    translation = (chosen[..., None] * frames.translation[..., None, :, :]).sum(-2)
    mask = look_up(ATOM14_MASK, aatype, like)
    return (rotate(rotation, places) + translation) * mask[..., None]
