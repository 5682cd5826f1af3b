from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sci_memeff.alphafold.geometry import (
    Rigid,
    frames_to_atom14,
    quaternion_to_rotation,
    torsions_to_frames,
)
from sci_memeff.alphafold.structure_module import StructureModule
from sci_memeff.chemistry import ATOM14_MASK

from .networks import SMALL, random_mask, redrawn

B, N, STEPS = 2, 6, SMALL.num_structure_iterations


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def module() -> StructureModule:
    return redrawn(StructureModule(SMALL))


@pytest.fixture
def inputs() -> dict[str, Tensor]:
    return {
        "single": normal(B, N, SMALL.c_s),
        "z": normal(B, N, N, SMALL.c_z, seed=1),
        "aatype": torch.randint(20, (B, N), generator=torch.Generator().manual_seed(2)),
        "mask": random_mask(B, N, generator=torch.Generator().manual_seed(3)),
    }


def test_outputs(module, inputs):
    out = module(**inputs)
    assert {name: tuple(x.shape) for name, x in out.items()} == {
        "frames": (STEPS, B, N, 4, 4),
        "angles": (STEPS, B, N, 7, 2),
        "unnormalized_angles": (STEPS, B, N, 7, 2),
        "sidechain_frames": (B, N, 8, 4, 4),
        "positions": (B, N, 14, 3),
        "states": (B, N, SMALL.c_s),
    }
    rotation = out["frames"][..., :3, :3]
    eye = torch.eye(3, dtype=torch.float64).expand_as(rotation)
    torch.testing.assert_close(rotation @ rotation.transpose(-1, -2), eye)
    torch.testing.assert_close(
        torch.linalg.det(rotation), torch.ones(STEPS, B, N, dtype=torch.float64)
    )
    lengths = out["angles"].norm(dim=-1)
    torch.testing.assert_close(lengths, torch.ones_like(lengths))
    torch.testing.assert_close(
        out["angles"] * out["unnormalized_angles"].norm(dim=-1, keepdim=True),
        out["unnormalized_angles"],
    )


def test_atoms_follow_from_the_last_frames_and_torsions(module, inputs):
    out = module(**inputs)
    backbone = Rigid.from_matrix4(out["frames"][-1])
    groups = torsions_to_frames(backbone, out["angles"][-1], inputs["aatype"])
    torch.testing.assert_close(out["sidechain_frames"], groups.to_matrix4())
    torch.testing.assert_close(out["positions"], frames_to_atom14(groups, inputs["aatype"]))
    # Cα is at the frame's origin, in Å.
    torch.testing.assert_close(out["positions"][..., 1, :], backbone.translation)


def test_a_step_moves_with_the_frames_it_is_given(module, inputs):
    """Invariant states, equivariant frames: the module knows no direction in space."""
    s, z = normal(B, N, SMALL.c_s, seed=4), inputs["z"]
    frames = Rigid(quaternion_to_rotation(normal(B, N, 4)), normal(B, N, 3, seed=5))
    motion = Rigid(quaternion_to_rotation(normal(4, seed=6)), 3 * normal(3, seed=7))
    moved = motion @ frames
    first = module.iteration(s, frames.rotation, frames.translation, z, inputs["mask"])
    second = module.iteration(s, moved.rotation, moved.translation, z, inputs["mask"])
    wanted = motion @ Rigid(*first[1:])
    torch.testing.assert_close(second[0], first[0], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(second[1], wanted.rotation, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(second[2], wanted.translation, rtol=1e-10, atol=1e-10)


def test_frames_are_the_iterated_steps_in_tens_of_angstrom(module, inputs):
    out = module(**inputs)
    initial = module.layer_norm_s(inputs["single"])
    s, z = module.linear_in(initial), module.layer_norm_z(inputs["z"])
    frames = Rigid.identity((B, N), like=s)
    for step in range(STEPS):
        s, *parts = module.iteration(s, frames.rotation, frames.translation, z, inputs["mask"])
        frames = Rigid(*parts)
        wanted = frames.scale_translation(10.0).to_matrix4()
        torch.testing.assert_close(out["frames"][step], wanted)
        angles = module.angle_resnet(s, initial)
        torch.testing.assert_close(out["unnormalized_angles"][step], angles)
    torch.testing.assert_close(out["states"], s)


def test_no_gradient_flows_through_rotations_between_steps(module, inputs):
    """Algorithm 20, line 20."""
    s = normal(B, N, SMALL.c_s)
    rotation = quaternion_to_rotation(normal(B, N, 4)).requires_grad_()
    translation = normal(B, N, 3).requires_grad_()
    outputs = module.iteration(s, rotation, translation, inputs["z"], inputs["mask"])
    total = sum(x.sum() for x in outputs)
    found = torch.autograd.grad(total, (rotation, translation), allow_unused=True)
    assert found[0] is None
    assert found[1].abs().max() > 0


def test_the_last_rotation_has_a_gradient(module, inputs):
    out = module(**inputs)
    for step in range(STEPS):
        (gradient,) = torch.autograd.grad(
            out["frames"][step, ..., :3, :3].square().mul(normal(B, N, 3, 3)).sum(),
            module.bb_update.linear.weight,
            retain_graph=True,
        )
        assert gradient.abs().max() > 0


def test_masked_residues_have_no_influence(module, inputs):
    valid = inputs["mask"].bool()
    wild = {**inputs, "single": inputs["single"].clone()}
    wild["single"][~valid] *= -3
    a, b = module(**inputs), module(**wild)
    for name in ("positions", "states", "sidechain_frames"):
        torch.testing.assert_close(a[name][valid], b[name][valid], rtol=1e-9, atol=1e-9)
    assert not torch.allclose(a["states"], b["states"])


def test_at_the_start_every_residue_is_at_the_origin():
    module = StructureModule(SMALL).eval()
    aatype = torch.arange(20)[None]
    single, z = torch.randn(1, 20, SMALL.c_s), torch.randn(1, 20, 20, SMALL.c_z)
    out = module(single, z, aatype, torch.ones(1, 20))
    assert torch.equal(out["frames"], torch.eye(4).expand_as(out["frames"]))
    n, ca, c = out["positions"][0, :, :3].unbind(1)
    assert not ca.any()
    # Bond lengths and the angle of a peptide's backbone, Å and degrees.
    assert (n - ca).norm(dim=-1).tolist() == pytest.approx([1.458] * 20, abs=0.02)
    assert (c - ca).norm(dim=-1).tolist() == pytest.approx([1.525] * 20, abs=0.02)
    cosine = (n * c).sum(-1) / n.norm(dim=-1) / c.norm(dim=-1)
    angles = [math.degrees(math.acos(x)) for x in cosine.tolist()]
    assert angles == pytest.approx([111.0] * 20, abs=3)
    there = torch.from_numpy(ATOM14_MASK[:20].copy()).bool()
    assert (out["positions"][0].norm(dim=-1)[there] < 10).all()
    assert not out["positions"][0][~there].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_coordinates_are_never_half_precision(inputs, dtype):
    module = redrawn(StructureModule(SMALL)).to(dtype)
    given = {k: x.to(dtype) if x.is_floating_point() else x for k, x in inputs.items()}
    out = module(**given)
    for name in ("frames", "angles", "positions", "sidechain_frames"):
        assert out[name].dtype == torch.float32
        assert out[name].isfinite().all()
    exact = redrawn(StructureModule(SMALL))(**inputs)
    valid = inputs["mask"].bool()
    error = (out["positions"] - exact["positions"])[valid].abs().max()
    assert error < (1e-3 if dtype == torch.float32 else 10)


def test_angles_of_length_zero_have_a_finite_gradient(module, inputs):
    with torch.no_grad():
        for parameter in module.angle_resnet.linear_out.parameters():
            parameter.zero_()
    out = module(**inputs)
    assert not out["angles"].any()
    parameters = list(module.angle_resnet.parameters())
    gradients = torch.autograd.grad(out["angles"].sum(), parameters)
    assert all(gradient.isfinite().all() for gradient in gradients)
