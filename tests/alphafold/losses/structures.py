"""Proteins for tests: ideal peptides, and predictions of them with every feature a loss reads."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sci_memeff import chemistry
from sci_memeff.alphafold.geometry import (
    Rigid,
    atom14_to_atom37,
    frames_to_atom14,
    look_up,
    pseudo_beta,
    torsions_to_frames,
)

PHI, PSI = -120.0, 130.0  # an extended strand, degrees
PROLINE_CHI = (28.0, -36.0, 0.0, 0.0)  # closes the ring


def place(a: Tensor, b: Tensor, c: Tensor, length: float, cosine: float, torsion: float) -> Tensor:
    """The point d with |cd| = length, angle b-c-d of this cosine, torsion a-b-c-d in degrees."""
    forward = (c - b) / (c - b).norm()
    normal = torch.linalg.cross(b - a, forward)
    normal = normal / normal.norm()
    turn, sine = math.radians(torsion), math.sqrt(1 - cosine**2)
    across = math.cos(turn) * torch.linalg.cross(normal, forward) + math.sin(turn) * normal
    return c + length * (-cosine * forward + sine * across)


def ideal_backbone(
    aatype: Tensor,
    ca_c_n: float = chemistry.CA_C_N_COSINE,
    c_n_ca: float = chemistry.C_N_CA_COSINE,
) -> Rigid:
    """Backbone frames (n,) of a trans peptide with ideal bonds and, unless told, angles."""
    places = look_up(chemistry.ATOM14_POSITIONS, aatype).double()
    n_ca_c = [places[i, :3] for i in range(len(aatype))]
    atoms = [n_ca_c[0]]
    for i in range(1, len(aatype)):
        (n, ca, c), own = atoms[-1], n_ca_c[i]
        proline = aatype[i] == chemistry.RESTYPE_INDEX["P"]
        bond = chemistry.C_N_LENGTH_BEFORE_PROLINE if proline else chemistry.C_N_LENGTH
        next_n = place(n, ca, c, bond, ca_c_n, PSI)
        length = float((own[1] - own[0]).norm())
        next_ca = place(ca, c, next_n, length, c_n_ca, 180.0)
        to_n, to_c = own[0] - own[1], own[2] - own[1]
        cosine = float((to_n * to_c).sum() / to_n.norm() / to_c.norm())
        next_c = place(c, next_n, next_ca, float(to_c.norm()), cosine, PHI)
        atoms.append(torch.stack([next_n, next_ca, next_c]))
    n, ca, c = torch.stack(atoms).unbind(1)
    return Rigid.from_three_points(2 * ca - c, ca, n, eps=0.0)


def ideal_torsions(aatype: Tensor, chi: float = 180.0) -> Tensor:
    """Torsions (n, 7, 2) that go with `ideal_backbone`."""
    chis = torch.full((len(aatype), 4), chi, dtype=torch.float64)
    chis[aatype == chemistry.RESTYPE_INDEX["P"]] = torch.tensor(PROLINE_CHI, dtype=torch.float64)
    backbone = torch.tensor([180.0, PHI, PSI], dtype=torch.float64)
    degrees = torch.cat([backbone.expand(len(aatype), 3), chis], dim=-1)
    return torch.stack([degrees.deg2rad().sin(), degrees.deg2rad().cos()], dim=-1)


def ideal_peptide(letters: str, chi: float = -60.0) -> tuple[Tensor, dict[str, Tensor]]:
    """Atoms (n, 14, 3), and the features that a violation is found with."""
    aatype = sequence(letters)
    groups = torsions_to_frames(ideal_backbone(aatype), ideal_torsions(aatype, chi), aatype)
    return frames_to_atom14(groups, aatype), peptide_features(aatype)


def peptide_features(aatype: Tensor) -> dict[str, Tensor]:
    return {
        "aatype": aatype,
        "residue_index": torch.arange(len(aatype)),
        "atom14_atom_exists": look_up(chemistry.ATOM14_MASK, aatype).double(),
        "seq_mask": torch.ones(len(aatype), dtype=torch.float64),
    }


def sequence(letters: str) -> Tensor:
    return torch.tensor([chemistry.RESTYPE_INDEX[letter] for letter in letters])


def random_mask(*shape: int, like: Tensor) -> Tensor:
    """Zeros and ones, of both some."""
    mask = (torch.rand(shape) < 0.7).to(like.dtype)
    mask.view(-1)[0], mask.view(-1)[-1] = 0.0, 1.0
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    return mask


def _ones(*shape: int, like: Tensor) -> Tensor:
    return like.new_ones(shape)


def truth(
    aatype: Tensor, *, complete: bool = False, dtype: torch.dtype = torch.float64
) -> dict[str, Tensor]:
    """The features that describe a true structure, some of it missing unless `complete`."""
    seen = _ones if complete else random_mask
    torsions = ideal_torsions(aatype, chi=-60.0)
    groups = torsions_to_frames(ideal_backbone(aatype), torsions, aatype)
    positions = frames_to_atom14(groups, aatype)
    atoms = look_up(chemistry.ATOM14_MASK, aatype, positions)
    resolved = atoms * seen(len(aatype), 14, like=positions)
    swap = look_up(chemistry.ATOM14_SWAP, aatype)
    frames = groups.to_matrix4()
    turned = look_up(chemistry.GROUP_AMBIGUOUS, aatype, positions)[..., None, None]
    about_x = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64))
    group_exists = look_up(chemistry.GROUP_EXISTS, aatype, positions)
    positions37 = atom14_to_atom37(positions, aatype)
    backbone_mask = seen(len(aatype), like=positions)
    floats = {
        "seq_mask": torch.ones(len(aatype)),
        "atom14_atom_exists": atoms,
        "atom14_gt_positions": positions * resolved[..., None],
        "atom14_gt_exists": resolved,
        "atom14_alt_gt_positions": (positions * resolved[..., None]).gather(
            1, swap[..., None].expand(-1, -1, 3)
        ),
        "atom14_alt_gt_exists": resolved.gather(1, swap),
        "atom14_atom_is_ambiguous": look_up(chemistry.ATOM14_AMBIGUOUS, aatype, positions),
        "rigidgroups_gt_frames": frames,
        "rigidgroups_alt_gt_frames": torch.where(turned > 0, frames @ about_x, frames),
        "rigidgroups_gt_exists": group_exists * seen(len(aatype), 8, like=positions),
        "backbone_rigid_tensor": frames[:, 0],
        "backbone_rigid_mask": backbone_mask,
        "chi_angles_sin_cos": torsions[:, 3:],
        "chi_mask": look_up(chemistry.CHI_MASK, aatype, positions),
        "all_atom_positions": positions37,
        "all_atom_mask": atom14_to_atom37(resolved, aatype),
        "atom37_atom_exists": look_up(chemistry.ATOM37_MASK, aatype, positions),
        "pseudo_beta": pseudo_beta(aatype, positions37),
        "pseudo_beta_mask": seen(len(aatype), like=positions),
        "resolution": torch.tensor(2.0),
        "use_clamped_fape": torch.tensor(1.0),
    }
    residue_index = torch.arange(len(aatype))
    residue_index[len(aatype) // 2 :] += 3  # a gap
    return {name: value.to(dtype) for name, value in floats.items()} | {
        "aatype": aatype,
        "residue_index": residue_index,
        "seq_length": torch.tensor(len(aatype)),
        "residx_atom14_to_atom37": look_up(chemistry.ATOM14_TO_ATOM37, aatype),
    }


def example(
    letters: str,
    seed: int,
    *,
    complete: bool = False,
    dtype: torch.dtype = torch.float64,
    num_sequences: int = 5,
    num_iterations: int = 3,
) -> tuple[dict, dict[str, Tensor]]:
    """What a model that is somewhat wrong would return, with leaves, and the features."""
    torch.manual_seed(seed)
    aatype = sequence(letters)
    n, s, t = len(aatype), num_sequences, num_iterations
    batch = truth(aatype, complete=complete, dtype=dtype)
    batch["true_msa"] = torch.randint(23, (s, n))
    batch["bert_mask"] = random_mask(s, n, like=batch["chi_mask"])

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=torch.float64)

    true_backbone = Rigid.from_matrix4(batch["backbone_rigid_tensor"].double())
    backbone = true_backbone.update(noise(t, n, 6) * torch.tensor([0.3] * 3 + [4.0] * 3))
    raw = ideal_torsions(aatype, chi=100.0) + 0.3 * noise(t, n, 7, 2)
    angles = raw / raw.norm(dim=-1, keepdim=True)
    groups = torsions_to_frames(backbone[-1], angles[-1], aatype)
    positions = frames_to_atom14(groups, aatype)
    structure = {
        "frames": backbone.to_matrix4(),
        "angles": angles,
        "unnormalized_angles": raw,
        "sidechain_frames": groups.to_matrix4(),
        "positions": positions,
    }
    logits = {
        "distogram_logits": noise(n, n, 64),
        "masked_msa_logits": noise(s, n, 23),
        "lddt_logits": noise(n, 50),
        "experimentally_resolved_logits": noise(n, 37),
        "tm_logits": noise(n, n, 64),
        "final_atom_positions": atom14_to_atom37(positions, aatype),
    }
    out = {name: leaf(value, dtype) for name, value in logits.items()}
    return out | {"sm": {name: leaf(value, dtype) for name, value in structure.items()}}, batch


def leaf(value: Tensor, dtype: torch.dtype) -> Tensor:
    return value.detach().to(dtype).requires_grad_()
