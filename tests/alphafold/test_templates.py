from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from sci_memeff.alphafold.config import ModelConfig
from sci_memeff.alphafold.geometry import Rigid
from sci_memeff.alphafold.templates import (
    TemplateEmbedder,
    TemplatePairEmbedder,
    TemplatePointwiseAttention,
    backbone_frames,
)
from sci_memeff.chemistry import ATOM37_INDEX

from .networks import SMALL, random_batch, random_mask, redrawn

T, N = 3, 6
N_ATOM, CA, C = (ATOM37_INDEX[name] for name in ("N", "CA", "C"))


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.fixture
def features() -> dict[str, Tensor]:
    return {name: x[0, ..., 0] for name, x in random_batch(residues=N, templates=T).items()}


@pytest.fixture
def z() -> Tensor:
    g = torch.Generator().manual_seed(1)
    return torch.randn(N, N, SMALL.c_z, generator=g, dtype=torch.float64)


@pytest.fixture
def pair_mask() -> Tensor:
    return random_mask(N, N, generator=torch.Generator().manual_seed(2))


def backbone(features: dict[str, Tensor], t: int) -> tuple[Rigid, Tensor]:
    """Frames at Cα with C on the positive x axis and N at positive y, and whether they exist."""
    atoms, mask = features["template_all_atom_positions"][t], features["template_all_atom_mask"][t]
    x = F.normalize(atoms[:, C] - atoms[:, CA], dim=-1)
    n = atoms[:, N_ATOM] - atoms[:, CA]
    y = F.normalize(n - x * (x * n).sum(-1, keepdim=True), dim=-1)
    rotation = torch.stack([x, y, torch.linalg.cross(x, y)], dim=-1)
    return Rigid(rotation, atoms[:, CA]), mask[:, N_ATOM] * mask[:, CA] * mask[:, C]


@pytest.mark.parametrize("unit_vectors", [False, True])
def test_pair_features_are_table_1s(features, unit_vectors):
    config = replace(SMALL, template_unit_vectors=unit_vectors)
    layer = redrawn(TemplatePairEmbedder(config))
    found = layer(features)
    beta, beta_mask = features["template_pseudo_beta"], features["template_pseudo_beta_mask"]
    letters = F.one_hot(features["template_aatype"], 22).double()
    seen = set()
    for t in range(T):
        frames, mask = backbone(features, t)
        for i in range(N):
            for j in range(N):
                distance = (beta[t, i] - beta[t, j]).norm().item()
                bins = torch.zeros(39, dtype=torch.float64)
                if distance > 3.25:
                    bins[min(int((distance - 3.25) / 1.25), 38)] = 1
                direction = torch.zeros(3, dtype=torch.float64)
                if unit_vectors and i != j:
                    direction = F.normalize(frames[i].invert_apply(frames.translation[j]), dim=-1)
                both = mask[i] * mask[j]
                seen.add(both.item())
                parts = [
                    bins,
                    (beta_mask[t, i] * beta_mask[t, j])[None],
                    letters[t, j],
                    letters[t, i],
                    direction * both,
                    both[None],
                ]
                wanted = layer.linear(torch.cat(parts) * both)
                # Lengths in the frames and the directions have 1e-8 Å² added.
                torch.testing.assert_close(found[t, i, j], wanted, rtol=1e-7, atol=1e-7)
    assert seen == {0.0, 1.0}


def test_frames_need_all_three_atoms(features):
    mask = torch.ones(4, 37)
    mask[1, N_ATOM] = mask[2, CA] = mask[3, C] = 0
    features["template_all_atom_mask"][0, :4] = mask
    found, exists = backbone_frames(features["template_all_atom_positions"][0, :4], mask)
    assert exists.tolist() == [1, 0, 0, 0]
    frames, wanted = backbone(features, 0)
    assert torch.equal(exists, wanted[:4])
    torch.testing.assert_close(found.rotation, frames.rotation[:4], rtol=0, atol=1e-8)
    assert torch.equal(found.translation, frames.translation[:4])


def test_pair_features_do_not_move_with_the_template(features):
    config = replace(SMALL, template_unit_vectors=True)
    layer = redrawn(TemplatePairEmbedder(config))
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64)).Q
    turn = turn * torch.det(turn)
    moved = dict(features)
    for name in ("template_all_atom_positions", "template_pseudo_beta"):
        moved[name] = features[name] @ turn.T + torch.tensor([5.0, -3.0, 8.0])
    torch.testing.assert_close(layer(features), layer(moved), rtol=1e-6, atol=1e-6)


def test_attention_is_over_the_templates_of_each_pair(z):
    """Algorithm 17."""
    layer = redrawn(TemplatePointwiseAttention(SMALL))
    g = torch.Generator().manual_seed(3)
    t = torch.randn(T, N, N, SMALL.c_t, generator=g, dtype=torch.float64)
    mask = torch.tensor([1.0, 0.0, 1.0])
    heads = (SMALL.num_heads_pair, SMALL.c_hidden_template_attention)
    found = layer(z, t, mask)
    for i in range(N):
        for j in range(N):
            valid = t[mask.bool(), i, j]
            q = layer.mha.linear_q(z[i, j]).reshape(heads)
            k, v = (
                linear(valid).reshape(-1, *heads)
                for linear in (layer.mha.linear_k, layer.mha.linear_v)
            )
            weights = (torch.einsum("hc,thc->ht", q, k) / heads[1] ** 0.5).softmax(-1)
            read = torch.einsum("ht,thc->hc", weights, v).flatten()
            close(found[i, j], layer.mha.linear_o(read))


@pytest.fixture
def embedder() -> TemplateEmbedder:
    return redrawn(TemplateEmbedder(SMALL))


def test_padding_templates_have_no_influence(embedder, features, z, pair_mask):
    features["template_mask"] = torch.tensor([1.0, 0.0, 1.0])
    kept = {name: x[[0, 2]] if name.startswith("template_") else x for name, x in features.items()}
    wild = {name: x.clone() for name, x in features.items()}
    for name in ("template_pseudo_beta", "template_all_atom_positions"):
        wild[name][1] *= -3
    wanted = embedder(kept, z, pair_mask)
    close(embedder(features, z, pair_mask), wanted)
    close(embedder(wild, z, pair_mask), wanted)


def test_the_order_of_templates_does_not_matter(embedder, features, z, pair_mask):
    order = [2, 0, 1]
    other = {name: x[order] if name.startswith("template_") else x for name, x in features.items()}
    close(embedder(other, z, pair_mask), embedder(features, z, pair_mask))


def test_without_any_template_there_is_no_update(embedder, features, z, pair_mask):
    some = embedder(features, z, pair_mask)
    assert some.abs().min() > 0
    batch = {name: torch.stack([x, x]) for name, x in features.items()}
    batch["template_mask"] = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    updates = embedder(batch, torch.stack([z, z]), torch.stack([pair_mask, pair_mask]))
    close(updates[0], some)
    assert not updates[1].any()  # of this example alone


def test_masked_residues_have_no_influence(embedder, features, z):
    valid = torch.tensor([1.0, 1, 0, 1, 1, 0], dtype=torch.float64)
    wild = {name: x.clone() for name, x in features.items()}
    wild["template_pseudo_beta"][:, ~valid.bool()] *= -3
    wild["template_aatype"][:, ~valid.bool()] = 3
    mask = valid[:, None] * valid
    a, b = (embedder(x, z, mask) for x in (features, wild))
    close(a[mask.bool()], b[mask.bool()])
    assert not torch.allclose(a, b)


def test_torsions_become_rows_of_the_msa(embedder, features):
    rows, mask = embedder.rows(features)
    torsions_mask = features["template_torsion_angles_mask"]
    assert torch.equal(mask, torsions_mask[..., 2])
    row = torch.cat(
        [
            F.one_hot(features["template_aatype"], 22),
            features["template_torsion_angles_sin_cos"].reshape(T, N, 14),
            features["template_alt_torsion_angles_sin_cos"].reshape(T, N, 14),
            torsions_mask,
        ],
        dim=-1,
    )
    layer = embedder.template_single_embedder
    close(rows, layer.linear_2(layer.linear_1(row).clamp(min=0)))


def test_a_network_without_torsions_adds_no_rows(features):
    config: ModelConfig = replace(SMALL, template_torsions=False)
    embedder = TemplateEmbedder(config)
    assert embedder.rows(features) is None
    assert not any("single" in name for name, _ in embedder.named_parameters())
