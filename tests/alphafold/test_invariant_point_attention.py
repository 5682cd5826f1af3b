from __future__ import annotations

from math import sqrt

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from sci_memeff.alphafold.geometry import Rigid, quaternion_to_rotation
from sci_memeff.alphafold.invariant_point_attention import InvariantPointAttention

from .networks import SMALL, random_mask, redrawn

N = 6
H, C = SMALL.num_heads_ipa, SMALL.c_hidden_ipa
P, Q = SMALL.num_query_points, SMALL.num_value_points


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def motion(*shape: int, seed: int = 0, reach: float = 2.0) -> Rigid:
    rotation = quaternion_to_rotation(normal(*shape, 4, seed=seed))
    return Rigid(rotation, reach * normal(*shape, 3, seed=seed + 1))


@pytest.fixture
def layer() -> InvariantPointAttention:
    return redrawn(InvariantPointAttention(SMALL))


@pytest.fixture
def inputs() -> dict:
    return {
        "s": normal(N, SMALL.c_s),
        "z": normal(N, N, SMALL.c_z, seed=1),
        "frames": motion(N, seed=2),
        "mask": random_mask(N, generator=torch.Generator().manual_seed(8)),
    }


def points(layer: InvariantPointAttention, name: str, s: Tensor, frames: Rigid) -> Tensor:
    """Global points (residue, head, point, 3); the layer gives all x first, then y, then z."""
    local = getattr(layer, name).linear(s).reshape(N, 3, -1).transpose(1, 2)
    moved = (frames.rotation[:, None] @ local[..., None])[..., 0] + frames.translation[:, None]
    return moved.reshape(N, H, -1, 3)


def formula(layer: InvariantPointAttention, s: Tensor, z: Tensor, frames: Rigid, mask: Tensor):
    """Algorithm 22, a pair of residues at a time."""
    q = layer.linear_q(s).reshape(N, H, C)
    k, v = layer.linear_kv(s).reshape(N, H, 2, C).unbind(2)
    b = layer.linear_b(z)
    q_points = points(layer, "linear_q_points", s, frames)
    k_points, v_points = points(layer, "linear_kv_points", s, frames).split([P, Q], dim=2)
    w_l, w_c = sqrt(1 / 3), sqrt(2 / (9 * P))
    gamma = F.softplus(layer.head_weights)
    rows = []
    for i in range(N):
        logits = torch.stack(
            [
                w_l
                * (
                    (q[i] * k[j]).sum(-1) / sqrt(C)
                    + b[i, j]
                    - gamma * w_c / 2 * (q_points[i] - k_points[j]).square().sum((-1, -2))
                )
                + 1e5 * (mask[i] * mask[j] - 1)
                for j in range(N)
            ]
        )
        a = logits.softmax(0)
        seen = torch.einsum("jh,jhpx->hpx", a, v_points)
        local = (seen - frames.translation[i]) @ frames.rotation[i]
        gathered = [
            torch.einsum("jh,jhc->hc", a, v).flatten(),
            *(local[..., x].flatten() for x in range(3)),
            (local.square().sum(-1) + 1e-8).sqrt().flatten(),
            torch.einsum("jh,jc->hc", a, z[i]).flatten(),
        ]
        rows.append(layer.linear_out(torch.cat(gathered)))
    return torch.stack(rows)


def test_is_its_formula(layer, inputs):
    inputs["mask"] = torch.tensor([1.0, 1, 0, 1, 1, 0], dtype=torch.float64)
    found, wanted = layer(**inputs), formula(layer, **inputs)
    valid = inputs["mask"].bool()
    torch.testing.assert_close(found[valid], wanted[valid], rtol=1e-11, atol=1e-11)
    # A residue that is masked itself sees all alike, far down at -1e5, where digits are lost.
    torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-8)


def test_does_not_change_when_everything_moves(layer, inputs):
    plain = layer(**inputs)
    for seed in range(3):
        moved = motion(seed=10 + seed, reach=5.0) @ inputs["frames"]
        found = layer(**{**inputs, "frames": moved})
        torch.testing.assert_close(found, plain, rtol=1e-10, atol=1e-10)


def test_changes_when_one_residue_moves(layer, inputs):
    frames = inputs["frames"]
    translation = frames.translation.clone()
    translation[0] += 1
    found = layer(**{**inputs, "frames": Rigid(frames.rotation, translation)})
    assert (found - layer(**inputs)).abs().amax(-1).min() > 1e-4


def test_gradients_do_not_change_either(layer, inputs):
    def gradients(frames: Rigid) -> tuple[Tensor, ...]:
        s, z = inputs["s"].clone().requires_grad_(), inputs["z"].clone().requires_grad_()
        out = layer(s, z, frames, inputs["mask"])
        return torch.autograd.grad((out * normal(N, SMALL.c_s, seed=5)).sum(), (s, z))

    moved = motion(seed=20, reach=5.0) @ inputs["frames"]
    for a, b in zip(gradients(inputs["frames"]), gradients(moved), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_far_from_the_origin_little_is_lost_in_float32(layer, inputs):
    """Squares of distances are expanded; about a common centre they stay small."""
    plain = layer(**inputs)
    single = redrawn(InvariantPointAttention(SMALL)).float()
    far = Rigid(inputs["frames"].rotation, inputs["frames"].translation + 100.0)
    frames = Rigid(far.rotation.float(), far.translation.float())
    found = single(inputs["s"].float(), inputs["z"].float(), frames, inputs["mask"].float())
    valid = inputs["mask"].bool()
    assert (found - plain)[valid].abs().max() < 1e-4 * plain.abs().max()


def test_masked_residues_have_no_influence(layer, inputs):
    valid = inputs["mask"].bool()
    assert 0 < valid.sum() < N
    wild = {**inputs, "s": inputs["s"].clone()}
    wild["s"][~valid] *= -3
    a, b = layer(**inputs), layer(**wild)
    torch.testing.assert_close(a[valid], b[valid], rtol=1e-11, atol=1e-11)
    assert not torch.allclose(a, b)


def test_every_head_starts_with_weight_one():
    torch.testing.assert_close(
        F.softplus(InvariantPointAttention(SMALL).head_weights), torch.ones(H)
    )
