from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from sci_memeff.alphafold.embedders import (
    ExtraMSAEmbedder,
    InputEmbedder,
    RecyclingEmbedder,
    one_hot_distances,
)

from .networks import SMALL, redrawn

S, N = 3, 6


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_distance_bins():
    edges = torch.tensor([2.0, 4.0, 6.0])
    x = torch.tensor([[0.0, 0, 0]])
    y = torch.tensor([[1.0, 0, 0], [3.0, 0, 0], [0.0, 5, 0], [0, 0, 100.0], [4.0, 0, 0]])
    assert one_hot_distances(x, y, edges)[0].tolist() == [
        [0, 0, 0],  # below the first edge
        [1, 0, 0],
        [0, 1, 0],
        [0, 0, 1],  # the last bin is open
        [0, 0, 0],  # on an edge
    ]


def test_input_embedder_is_its_formula():
    """Algorithms 3 and 4, with gaps and jumps beyond 32 in the numbering."""
    layer = redrawn(InputEmbedder(SMALL))
    target, msa = normal(N, 22), normal(S, N, 49)
    index = torch.tensor([0, 1, 5, 30, 37, 90])
    m, z = layer(target, index, msa)
    for i in range(N):
        for s in range(S):
            close(m[s, i], layer.linear_msa_m(msa[s, i]) + layer.linear_tf_m(target[i]))
        for j in range(N):
            offset = min(max(int(index[i] - index[j]), -32), 32) + 32
            position = layer.linear_relpos.weight[:, offset] + layer.linear_relpos.bias
            ends = layer.linear_tf_z_i(target[i]) + layer.linear_tf_z_j(target[j])
            close(z[i, j], ends + position)
    # Beyond 32 residues apart, further makes no difference.
    far = torch.tensor([0, 1, 5, 30, 37, 900])
    close(layer(target, far, msa)[1], z)
    near = torch.tensor([0, 1, 5, 30, 37, 60])
    assert not torch.allclose(layer(target, near, msa)[1], z)


def test_recycling_embedder_is_its_formula():
    """Algorithm 32: 15 bins of 1.25 Å from 3.25 Å, the last one open."""
    layer = redrawn(RecyclingEmbedder(SMALL))
    m_first, z = normal(N, SMALL.c_m), normal(N, N, SMALL.c_z)
    x = torch.zeros(N, 3, dtype=torch.float64)
    x[:, 0] = torch.tensor([0.0, 3.0, 4.0, 10.1, 24.2, 60.3])
    m_update, z_update = layer(m_first, z, x)
    close(m_update, layer.layer_norm_m(m_first))
    for i in range(N):
        for j in range(N):
            distance = (x[i] - x[j]).norm().item()
            bins = torch.zeros(15, dtype=torch.float64)
            if distance > 3.25:
                bins[min(int((distance - 3.25) / 1.25), 14)] = 1
            close(z_update[i, j], layer.linear(bins) + layer.layer_norm_z(z[i, j]))


def test_before_the_first_pass_the_recycled_update_is_the_biases():
    layer = redrawn(RecyclingEmbedder(SMALL))
    zeros = [torch.zeros(n, dtype=torch.float64) for n in ((N, 16), (N, N, 12), (N, 3))]
    m_update, z_update = layer(*zeros)
    close(m_update, layer.layer_norm_m.bias.expand(N, -1))
    close(z_update, (layer.linear.bias + layer.layer_norm_z.bias).expand(N, N, -1))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_positions_keep_their_precision(dtype):
    layer = redrawn(RecyclingEmbedder(SMALL)).to(dtype)
    # 100.0 and 103.5 Å are 3.5 Å apart, and 4 Å in bfloat16, which is in another bin with 4.6.
    x = torch.tensor([[100.0, 0, 0], [103.5, 0, 0]])
    update = layer(torch.zeros(2, 16, dtype=dtype), torch.zeros(2, 2, 12, dtype=dtype), x)[1]
    wanted = layer.linear.weight[:, 0] + layer.linear.bias + layer.layer_norm_z.bias
    assert update.dtype == dtype
    torch.testing.assert_close(update[0, 1], wanted.detach(), rtol=2e-2, atol=2e-2)


def test_extra_msa_embedder_is_its_formula():
    layer = redrawn(ExtraMSAEmbedder(SMALL))
    letters = torch.tensor([[0, 5, 22], [20, 21, 3]])
    has, value = normal(2, 3), normal(2, 3, seed=1)
    features = torch.cat([F.one_hot(letters, 23), has[..., None], value[..., None]], dim=-1)
    close(layer(letters, has, value), layer.linear(features))
