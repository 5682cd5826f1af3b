"""Sub-layers of AlphaFold, ours and openfold3's: the axes that their algorithms have."""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from sci_memeff.alphafold.attention import Attention
from sci_memeff.alphafold.msa_attention import (
    MSAColumnAttention,
    MSAColumnGlobalAttention,
    MSARowAttentionWithPairBias,
)
from sci_memeff.alphafold.outer_product_mean import OuterProductMean
from sci_memeff.alphafold.transition import Transition
from sci_memeff.alphafold.triangle_attention import TriangleAttention
from sci_memeff.alphafold.triangle_multiplication import TriangleMultiplication
from sci_memeff.chunking.probing import explain

from .test_probe import axes, meta, row

S, N, C_M, C_Z = 32, 48, 24, 16
M, MSA_MASK = meta(1, S, N, C_M), meta(1, S, N)
Z, PAIR_MASK = meta(1, N, N, C_Z), meta(1, N, N)
BIASES = (meta(1, N, 1, 1, N), meta(1, 1, 2, N, N))
SEQUENCES = (((0, -3), (1, -2)), -3, S)
RESIDUES = (((0, -2), (1, -1)), -2, N)


@pytest.fixture(scope="module")
def openfold3() -> SimpleNamespace:
    # Its import sets a global warning filter, which must not outlive it.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from openfold3.core.model.layers import (
            msa,
            outer_product_mean,
            transition,
            triangular_attention,
            triangular_multiplicative_update,
        )
        from openfold3.core.model.primitives import attention
    return SimpleNamespace(
        msa=msa,
        outer_product_mean=outer_product_mean,
        transition=transition,
        triangular_attention=triangular_attention,
        triangular_multiplicative_update=triangular_multiplicative_update,
        attention=attention,
    )


def test_our_msa_layers():
    assert axes(MSAColumnAttention(C_M, 4, 2), M, MSA_MASK) == {RESIDUES}
    assert axes(MSAColumnGlobalAttention(C_M, 4, 2), M, MSA_MASK) == {RESIDUES}
    row_attention = MSARowAttentionWithPairBias(C_M, C_Z, 4, 2)
    assert axes(row_attention, M, Z, MSA_MASK) == {(((0, -3), (2, -2)), -3, S)}


def test_our_pair_layers():
    assert axes(Transition(C_Z, 4), Z) == {row(-3, N), row(-2, N)}
    rows = (((0, -3), (1, -3), (2, -4)), -3, N)
    queries = (((0, -2), (2, -2)), -2, N)
    assert axes(Attention(C_Z, C_Z, 4, 2), Z, Z, BIASES) == {rows, queries}


def refused(module: nn.Module, *args: Any, **kwargs: Any) -> str:
    found = explain(module, args, kwargs)
    assert found.axes == ()
    return found.refused


def test_layers_that_read_the_pair_representation_twice_are_refused():
    """Their own seams walk them: the bias, or a factor, is made of the whole first."""
    for node in ("starting", "ending"):
        assert "length 48" in refused(TriangleAttention(C_Z, 4, 2, node), Z, PAIR_MASK)
    for direction in ("outgoing", "incoming"):
        assert "length 48" in refused(TriangleMultiplication(C_Z, 4, direction), Z, PAIR_MASK)


def test_outer_product_mean_is_refused():
    """Along sequences it sums; along residues its output has both i and j."""
    reasons = refused(OuterProductMean(C_M, C_Z, 4), M, MSA_MASK)
    assert "length 48, {0: -2, 1: -1}: output 0 is (1, 2, 2, 16) of 2 rows" in reasons
    assert "length 32, {0: -3, 1: -2}: output 0 is" in reasons


def test_openfold3s_layers(openfold3):
    wanted = {(((0, -3), ("mask", -2)), -3, N), (((0, -2), ("mask", -1)), -2, N)}
    assert axes(openfold3.transition.SwiGLUTransition(C_Z, 4), Z, mask=PAIR_MASK) == wanted
    assert axes(openfold3.transition.ReLUTransition(C_Z, 4), Z, mask=PAIR_MASK) == wanted
    rows = ((("q_x", -3), ("kv_x", -3), ("biases", -4)), -3, N)
    queries = ((("q_x", -2), ("biases", -2)), -2, N)
    mha = openfold3.attention.Attention(C_Z, C_Z, C_Z, 4, 2)
    assert axes(mha, q_x=Z, kv_x=Z, biases=list(BIASES)) == {rows, queries}
    row_attention = openfold3.msa.MSARowAttentionWithPairBias(C_M, C_Z, 4, 2, 1e9)
    assert axes(row_attention, M, z=Z, mask=MSA_MASK) == {(((0, -3), ("mask", -2)), -3, S)}
    averaging = openfold3.msa.MSAPairWeightedAveraging(C_M, 4, C_Z, 2, 1e9)
    assert axes(averaging, M, z=Z, mask=PAIR_MASK) == {row(-3, S)}


def test_openfold3s_layers_that_are_refused(openfold3):
    attention = openfold3.triangular_attention.TriangleAttentionStartingNode(C_Z, 4, 2)
    assert "length 48" in refused(attention, Z, mask=PAIR_MASK)
    update = openfold3.triangular_multiplicative_update.TriangleMultiplicationOutgoing(C_Z, 4)
    assert "length 48" in refused(update, Z, mask=PAIR_MASK)
    mean = openfold3.outer_product_mean.OuterProductMean(C_M, C_Z, 4)
    assert "length 48" in refused(mean, M, mask=MSA_MASK)
