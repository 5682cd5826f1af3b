import math

import numpy as np
import pytest
import torch
from torch import Tensor

from sci_memeff.alphafold.geometry import (
    Rigid,
    atom14_to_atom37,
    frames_to_atom14,
    quaternion_to_rotation,
    torsions_to_frames,
)
from sci_memeff.chemistry import (
    ATOM14_AMBIGUOUS,
    ATOM14_MASK,
    ATOM14_SWAP,
    ATOM37_INDEX,
    BACKBONE,
    CHI1,
    CHI_ATOM37,
    CHI_MASK,
    CHI_PI_PERIODIC,
    DEFAULT_FRAMES,
    GROUP_ATOM37,
    GROUP_EXISTS,
    PHI,
    PRE_OMEGA,
    PSI,
    UNKNOWN,
    atom14_distance_bounds,
)

AATYPE = torch.arange(20).repeat(3, 1)
PROLINE = 14


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_backbone(*shape: int) -> Rigid:
    return Rigid(quaternion_to_rotation(random(*shape, 4)), 10 * random(*shape, 3, seed=1))


def random_angles(*shape: int) -> Tensor:
    return math.pi * torch.tanh(random(*shape, 7, seed=2))


def sin_cos(angles: Tensor) -> Tensor:
    return torch.stack([angles.sin(), angles.cos()], dim=-1)


def build(aatype: Tensor, angles: Tensor, backbone: Rigid | None = None) -> tuple[Rigid, Tensor]:
    frames = torsions_to_frames(backbone or random_backbone(*aatype.shape), sin_cos(angles), aatype)
    return frames, frames_to_atom14(frames, aatype)


def dihedral(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    axis = (c - b) / (c - b).norm(dim=-1, keepdim=True)
    first, second = torch.linalg.cross(axis, a - b), torch.linalg.cross(axis, d - c)
    sine = (torch.linalg.cross(first, second) * axis).sum(-1)
    return torch.atan2(sine, (first * second).sum(-1))


def difference(a: Tensor, b: Tensor) -> Tensor:
    return torch.remainder(a - b + math.pi, 2 * math.pi) - math.pi


def test_torsions_to_atoms_to_torsions() -> None:
    angles = random_angles(3, 20)
    frames, atom14 = build(AATYPE, angles)
    atom37 = atom14_to_atom37(atom14, AATYPE)
    columns = torch.tensor(CHI_ATOM37)[AATYPE]
    for chi in range(4):
        quartet = [
            atom37.take_along_dim(columns[..., chi, k, None, None], dim=2)[:, :, 0]
            for k in range(4)
        ]
        exists = torch.tensor(CHI_MASK)[AATYPE][..., chi] == 1
        assert exists.any()
        assert not exists.all()
        off = difference(dihedral(*quartet), angles[..., 3 + chi])[exists]
        assert off.abs().max() < 1e-6
    n, ca, c, o = (atom37[:, :, ATOM37_INDEX[name]] for name in ("N", "CA", "C", "O"))
    # O stands opposite the next residue's N, so the dihedral to it is psi turned by π.
    assert difference(dihedral(n, ca, c, o), angles[..., 2] + math.pi).abs().max() < 1e-6
    assert torch.equal(frames[..., BACKBONE].translation, frames.translation[..., 0, :])


def test_phi_and_omega_turn_about_their_bonds() -> None:
    angles = random_angles(3, 20)
    turned, _ = build(AATYPE, angles)
    straight, _ = build(AATYPE, torch.zeros_like(angles))
    for group in (PRE_OMEGA, PHI):
        between = straight[..., group].inverse() @ turned[..., group]
        assert between.translation.abs().max() < 1e-12
        angle = torch.atan2(between.rotation[..., 2, 1], between.rotation[..., 1, 1])
        assert difference(angle, angles[..., group - 1]).abs().max() < 1e-6


def test_atoms_recover_the_frames() -> None:
    frames, atom14 = build(AATYPE, random_angles(3, 20))
    atom37 = atom14_to_atom37(atom14, AATYPE)
    columns = torch.tensor(GROUP_ATOM37)[AATYPE]
    corners = [
        atom37[:, :, None]
        .expand(-1, -1, 8, -1, -1)
        .take_along_dim(columns[..., k, None, None], dim=3)[..., 0, :]
        for k in range(3)
    ]
    recovered = Rigid.from_three_points(*corners, eps=0.0).rotation
    flip = torch.eye(3).double().repeat(8, 1, 1)
    flip[BACKBONE] = torch.diag(torch.tensor([-1.0, 1.0, -1.0]))
    exists = torch.tensor(GROUP_EXISTS)[AATYPE] == 1
    torch.testing.assert_close(
        (recovered @ flip)[exists], frames.rotation[exists], atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("angle", [0.0, 1.1, math.pi])
def test_bonds_and_angles_hold_whatever_the_torsions(angle: float) -> None:
    angles = random_angles(3, 20) if angle else torch.zeros(3, 20, 7).double()
    _, atom14 = build(AATYPE, angles + angle)
    lower, upper, stddev = (
        torch.tensor(table)[AATYPE] for table in atom14_distance_bounds(1.5, 12.0)
    )
    distance = (atom14[..., :, None, :] - atom14[..., None, :, :]).norm(dim=-1)
    tied = stddev > 0
    tied[:, PROLINE] = False  # its ring is closed by its torsions
    assert tied.sum() > 1000
    assert (distance > lower)[tied].all()
    assert (distance < upper)[tied].all()


def test_moves_with_the_backbone() -> None:
    angles, backbone, motion = random_angles(3, 20), random_backbone(3, 20), random_backbone(1, 1)
    _, atom14 = build(AATYPE, angles, backbone)
    _, moved = build(AATYPE, angles, motion @ backbone)
    mask = torch.tensor(ATOM14_MASK)[AATYPE][..., None]
    torch.testing.assert_close(moved, motion[..., None].apply(atom14) * mask)


def test_periodic_torsions_swap_names() -> None:
    angles = random_angles(3, 20)
    _, atom14 = build(AATYPE, angles)
    half_turn = torch.zeros(20, 7).double()
    half_turn[:, 3:] = math.pi * torch.tensor(CHI_PI_PERIODIC)[:20]
    _, turned = build(AATYPE, angles + half_turn)
    swapped = atom14.take_along_dim(torch.tensor(ATOM14_SWAP)[AATYPE][..., None], dim=2)
    moved = torch.tensor(ATOM14_AMBIGUOUS)[AATYPE] == 1
    assert (turned - atom14)[moved].norm(dim=-1).min() > 1
    assert (turned - swapped).abs().max() < 0.06  # the two sides' ideal positions differ a little


def test_absent_atoms_are_zero_and_absent_groups_do_not_turn() -> None:
    aatype = torch.tensor([[0, UNKNOWN, 17]])
    frames, atom14 = build(aatype, random_angles(1, 3))
    absent = torch.tensor(ATOM14_MASK)[aatype] == 0
    assert not atom14[absent].any()
    assert atom14[~absent].any(dim=-1).all()
    assert not frames.rotation[0, 0, CHI1:].any()
    assert not frames.rotation[0, 1].any()


def test_is_the_product_of_frames_written_out() -> None:
    angles, backbone = random_angles(1, 1), random_backbone(1, 1)
    frames, _ = build(torch.tensor([[1]]), angles, backbone)
    matrix = backbone.to_matrix4()[0, 0].numpy()
    for group in [PSI, CHI1, CHI1 + 1, CHI1 + 2, CHI1 + 3]:
        angle = angles[0, 0, group - 1].item()
        turn = np.eye(4)
        turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        step = DEFAULT_FRAMES[1, group].astype(np.float64) @ turn
        here = matrix @ step
        np.testing.assert_allclose(frames[0, 0, group].to_matrix4(), here, atol=1e-12)
        matrix = here if group >= CHI1 else matrix


def test_float32_and_single_residues() -> None:
    angles = random_angles(20)
    backbone = random_backbone(20)
    exact = build(AATYPE[0], angles, backbone)[1]
    rough = Rigid(backbone.rotation.float(), backbone.translation.float())
    _, atom14 = build(AATYPE[0], angles.float(), rough)
    assert atom14.dtype == torch.float32
    torch.testing.assert_close(atom14.double(), exact, atol=1e-5, rtol=1e-5)


def test_gradients() -> None:
    aatype = torch.tensor([1, UNKNOWN, 17])

    def atoms(rotation: Tensor, translation: Tensor, angles: Tensor) -> Tensor:
        frames = torsions_to_frames(Rigid(rotation, translation), angles, aatype)
        return frames_to_atom14(frames, aatype)

    backbone, angles = random_backbone(3), sin_cos(random_angles(3))
    inputs = [x.requires_grad_() for x in (backbone.rotation, backbone.translation, angles)]
    assert torch.autograd.gradcheck(atoms, inputs)
