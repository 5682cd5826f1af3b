"""The Evoformer's layers against the sums over every index that the algorithms write."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from sci_memeff.alphafold.evoformer import EvoformerStack, ExtraMSAStack
from sci_memeff.alphafold.heads import AuxiliaryHeads
from sci_memeff.alphafold.outer_product_mean import OuterProductMean
from sci_memeff.alphafold.transition import Transition
from sci_memeff.alphafold.triangle_attention import TriangleAttention
from sci_memeff.alphafold.triangle_multiplication import TriangleMultiplication

from .networks import SMALL, random_mask, redrawn

S, N, C_M, C_Z, C, H = 4, 5, 16, 12, 3, 2


@pytest.fixture
def z() -> Tensor:
    return normal(N, N, C_Z)


@pytest.fixture
def pair_mask() -> Tensor:
    return random_mask(N, N, generator=torch.Generator().manual_seed(3))


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("direction", ["outgoing", "incoming"])
def test_triangle_multiplication(z, pair_mask, direction):
    """Algorithms 11 and 12."""
    layer = redrawn(TriangleMultiplication(C_Z, C, direction))
    x = layer.layer_norm_in(z)
    a, b = (
        torch.sigmoid(gate(x)) * linear(x) * pair_mask[..., None]
        for gate, linear in (
            (layer.linear_a_g, layer.linear_a_p),
            (layer.linear_b_g, layer.linear_b_p),
        )
    )
    found = layer(z, pair_mask)
    for i in range(N):
        for j in range(N):
            edges = (
                ((i, k), (j, k)) if direction == "outgoing" else ((k, i), (k, j)) for k in range(N)
            )
            total = sum(a[left] * b[right] for left, right in edges)
            update = layer.linear_z(layer.layer_norm_out(total))
            close(found[i, j], torch.sigmoid(layer.linear_g(x[i, j])) * update)


@pytest.mark.parametrize("node", ["starting", "ending"])
def test_triangle_attention(z, pair_mask, node):
    """Algorithm 13, and 14 with its bias b_ki."""
    layer = redrawn(TriangleAttention(C_Z, C, H, node))
    x = layer.layer_norm(z)
    q, k, v = (
        linear(x).unflatten(-1, (H, C))
        for linear in (layer.mha.linear_q, layer.mha.linear_k, layer.mha.linear_v)
    )
    gate = torch.sigmoid(layer.mha.linear_g(x))
    bias = layer.linear(x)
    found = layer(z, pair_mask)
    for i in range(N):
        for j in range(N):
            if node == "starting":
                edges, biases = [(i, n) for n in range(N)], [bias[j, n] for n in range(N)]
            else:
                edges, biases = [(n, j) for n in range(N)], [bias[n, i] for n in range(N)]
            logits = torch.stack(
                [
                    (q[i, j] * k[e]).sum(-1) / C**0.5 + b + 1e9 * (pair_mask[e] - 1)
                    for e, b in zip(edges, biases, strict=True)
                ]
            )
            read = sum(w[:, None] * v[e] for w, e in zip(logits.softmax(0), edges, strict=True))
            close(found[i, j], layer.mha.linear_o(gate[i, j] * read.flatten()))


def test_outer_product_mean():
    """Algorithm 10; the mean counts the sequences that have both residues."""
    layer = redrawn(OuterProductMean(C_M, C_Z, C))
    m, mask = normal(S, N, C_M), random_mask(S, N, generator=torch.Generator().manual_seed(3))
    mask[:, 1] = torch.tensor([1.0, 0, 0, 0])
    mask[:, 2] = torch.tensor([0.0, 1, 1, 0])  # no sequence has both residues 1 and 2
    x = layer.layer_norm(m)
    a, b = layer.linear_1(x), layer.linear_2(x)
    found = layer(m, mask)
    for i in range(N):
        for j in range(N):
            both = mask[:, i] * mask[:, j]
            outer = sum(both[s] * torch.outer(a[s, i], b[s, j]) for s in range(S))
            close(found[i, j], layer.linear_out(outer.flatten()) / (both.sum() + 1e-3))
    assert (mask[:, 1] * mask[:, 2]).sum() == 0


def test_transition():
    """Algorithms 9 and 15."""
    layer = redrawn(Transition(C_M, 4))
    m = normal(S, N, C_M)
    normed = F.layer_norm(m, (C_M,), layer.layer_norm.weight, layer.layer_norm.bias, 1e-5)
    hidden = (normed @ layer.linear_1.weight.T + layer.linear_1.bias).clamp(min=0)
    assert hidden.shape[-1] == 4 * C_M
    close(layer(m), hidden @ layer.linear_2.weight.T + layer.linear_2.bias)


@pytest.mark.parametrize("stack", [EvoformerStack, ExtraMSAStack])
def test_masked_sequences_and_residues_have_no_influence(stack):
    layer = redrawn(stack(SMALL))
    c = SMALL.c_m if stack is EvoformerStack else SMALL.c_e
    g = torch.Generator().manual_seed(1)
    sequences = torch.tensor([1.0, 1, 0, 1, 0], dtype=torch.float64)
    residues = torch.tensor([1.0, 1, 0, 1, 1, 0], dtype=torch.float64)
    msa_mask = sequences[:, None] * residues * random_mask(5, 6, generator=g)
    pair_mask = residues[:, None] * residues
    m, z = normal(5, 6, c), normal(6, 6, SMALL.c_z)
    other_m = torch.where(msa_mask[..., None].bool(), m, 9 * normal(5, 6, c, seed=7))
    other_z = torch.where(pair_mask[..., None].bool(), z, 9 * normal(6, 6, SMALL.c_z, seed=8))
    first = as_tuple(layer(m, z, msa_mask, pair_mask))
    second = as_tuple(layer(other_m, other_z, msa_mask, pair_mask))
    valid = {5: msa_mask.bool(), 6: pair_mask.bool()}
    for a, b in zip(first, second, strict=True):
        kept = residues.bool() if a.ndim == 2 else valid[a.shape[0]]
        close(a[kept], b[kept])
        assert not torch.allclose(a, b)


def as_tuple(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


def test_bool_masks_do_as_well():
    layer = redrawn(EvoformerStack(SMALL))
    g = torch.Generator().manual_seed(1)
    m, z = normal(3, 5, SMALL.c_m), normal(5, 5, SMALL.c_z)
    masks = random_mask(3, 5, generator=g), random_mask(5, 5, generator=g)
    for a, b in zip(
        layer(m, z, *masks), layer(m, z, *(mask.bool() for mask in masks)), strict=True
    ):
        assert torch.equal(a, b)


def test_the_distogram_is_symmetric_and_the_other_heads_are_not():
    heads = redrawn(AuxiliaryHeads(SMALL))
    m, z = normal(S, N, SMALL.c_m), normal(N, N, SMALL.c_z)
    single, state = normal(N, SMALL.c_s), normal(N, SMALL.c_s, seed=1)
    logits = heads(m, z, single, state)
    assert {name: tuple(value.shape) for name, value in logits.items()} == {
        "lddt_logits": (N, 50),
        "distogram_logits": (N, N, 64),
        "masked_msa_logits": (S, N, 23),
        "experimentally_resolved_logits": (N, 37),
        "tm_logits": (N, N, 64),
    }
    distogram, tm = logits["distogram_logits"], logits["tm_logits"]
    assert torch.equal(distogram, distogram.transpose(0, 1))
    assert not torch.allclose(tm, tm.transpose(0, 1))
    half = z @ heads.distogram.linear.weight.T + heads.distogram.linear.bias
    close(distogram, half + half.transpose(0, 1))
    # Each reads its own representation.
    changed = heads(m, z, single, single)
    assert [k for k in logits if not torch.equal(logits[k], changed[k])] == ["lddt_logits"]
