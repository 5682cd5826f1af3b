"""The Evoformer against an independent one, openfold3's: outputs and every gradient, in float64.

openfold3 is configured as AlphaFold 2 is: biases where AF2 has them, ReLU transitions, no mask on
the transitions. Where its own default is AlphaFold 3's, the comment says so.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sci_memeff.alphafold.config import ModelConfig
from sci_memeff.alphafold.evoformer import EvoformerBlock, EvoformerStack
from sci_memeff.alphafold.msa_attention import (
    MSAColumnAttention,
    MSAColumnGlobalAttention,
    MSARowAttentionWithPairBias,
)
from sci_memeff.alphafold.outer_product_mean import OuterProductMean
from sci_memeff.alphafold.templates import TemplatePairBlock
from sci_memeff.alphafold.transition import Transition
from sci_memeff.alphafold.triangle_attention import TriangleAttention
from sci_memeff.alphafold.triangle_multiplication import TriangleMultiplication

from .networks import SMALL, random_mask, redrawn

C_M, C_Z, HIDDEN, HEADS = 16, 12, 4, 2
S, N = 5, 7
INF = 1e9

# openfold3 asks for CUDA's autocast, to turn it off, wherever it runs.
pytestmark = pytest.mark.filterwarnings("ignore:CUDA is not available or torch_xla is imported")

RENAMED = (
    (re.compile(r"(tri_att_\w+\.|^)linear\.weight"), r"\1linear_z.weight"),
    (re.compile(r"(transition\.|^)linear_1\."), r"\1transition_mlp.layers.0.0."),
    (re.compile(r"(transition\.|^)linear_2\."), r"\1transition_mlp.linear_out."),
)


@pytest.fixture(scope="module")
def openfold3() -> SimpleNamespace:
    # Its import sets a global warning filter, which must not outlive it, and may miss kernels.
    with warnings.catch_warnings(record=True) as caught:
        from openfold3.core.config import default_linear_init_config as init
        from openfold3.core.model.latent import evoformer, template_module
        from openfold3.core.model.layers import (
            msa,
            outer_product_mean,
            transition,
            triangular_attention,
            triangular_multiplicative_update,
        )
    assert all("Triton is not available" in str(warning.message) for warning in caught)
    af2 = deepcopy(init.evo_block_init)
    for attention in (af2.msa_row_att, af2.msa_col_att, af2.pair_block.tri_att):
        attention.mha.linear_g.bias = attention.mha.linear_o.bias = True
    for linear in af2.pair_block.tri_mul.values():
        linear.bias = True
    af2.opm.linear_1.bias = af2.opm.linear_2.bias = True
    return SimpleNamespace(
        af2=af2,
        EvoformerBlock=evoformer.EvoformerBlock,
        EvoformerStack=evoformer.EvoformerStack,
        TemplatePairBlock=template_module.TemplatePairBlock,
        msa=msa,
        OuterProductMean=outer_product_mean.OuterProductMean,
        ReLUTransition=transition.ReLUTransition,
        tri_att=triangular_attention,
        tri_mul=triangular_multiplicative_update,
    )


class Features:
    """m, z, t and random masks, all with zeros and ones."""

    def __init__(self) -> None:
        g = torch.Generator().manual_seed(1)
        normal = partial(torch.randn, generator=g, dtype=torch.float64)
        self.m, self.z, self.t = normal(2, S, N, C_M), normal(2, N, N, C_Z), normal(2, 3, N, N, C_Z)
        self.msa_mask = random_mask(2, S, N, generator=g)
        self.pair_mask = random_mask(2, N, N, generator=g)
        self.t_mask = random_mask(2, 3, N, N, generator=g)


@pytest.fixture
def features() -> Features:
    return Features()


def share_weights(ours: nn.Module, theirs: nn.Module) -> dict[str, str]:
    """Copy our parameters into theirs; the names, ours to theirs."""
    own = dict(ours.named_parameters())
    names = {name: name for name in own}
    for old, new in RENAMED:
        wanted = dict(theirs.named_parameters())
        names = {k: v if v in wanted else old.sub(new, v) for k, v in names.items()}
    theirs.double().eval()
    theirs.load_state_dict({names[k]: v for k, v in own.items()}, strict=True)
    return names


def gradients(module: nn.Module, call: Callable[..., Any], inputs: dict[str, Tensor]) -> dict:
    """Outputs, and the gradients of a random sum of them, by name."""
    leaves = {k: v.clone().requires_grad_() for k, v in inputs.items()}
    outputs = call(module, **leaves)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    g = torch.Generator().manual_seed(5)
    total = sum((o * torch.randn(o.shape, generator=g, dtype=o.dtype)).sum() for o in outputs)
    wanted = {**leaves, **dict(module.named_parameters())}
    found = torch.autograd.grad(total, list(wanted.values()))
    named = {f"gradient of {k}": v for k, v in zip(wanted, found, strict=True)}
    return {**{f"output {i}": o.detach() for i, o in enumerate(outputs)}, **named}


def assert_equal(
    ours: nn.Module, theirs: nn.Module, our_call: Callable, their_call: Callable, **inputs: Tensor
) -> None:
    """Outputs and all gradients agree to 1e-9 of each one's largest magnitude."""
    names = share_weights(ours, theirs)
    a = gradients(ours, our_call, inputs)
    b = gradients(theirs, their_call, inputs)
    assert len(a) == len(b) > len(inputs)
    for name, value in a.items():
        prefix, _, own = name.rpartition(" ")
        other = b[f"{prefix} {names.get(own, own)}"]
        scale = other.abs().max()
        if own.endswith("layer_norm_z.bias"):
            # It moves all logits of a head alike, and so no attention: its gradient is rounding.
            assert max(value.abs().max(), scale) < 1e-12, name
            continue
        assert scale > 1e-6, f"{name} is zero everywhere: the comparison would see nothing"
        assert (value - other).abs().max() <= 1e-9 * scale, name


def test_row_attention_with_pair_bias(openfold3, features):
    assert_equal(
        redrawn(MSARowAttentionWithPairBias(C_M, C_Z, HIDDEN, HEADS)),
        openfold3.msa.MSARowAttentionWithPairBias(
            C_M, C_Z, HIDDEN, HEADS, INF, openfold3.af2.msa_row_att
        ),
        lambda module, m, z: module(m, z, features.msa_mask),
        lambda module, m, z: module(m, z=z, mask=features.msa_mask),
        m=features.m,
        z=features.z,
    )


def test_column_attention(openfold3, features):
    assert_equal(
        redrawn(MSAColumnAttention(C_M, HIDDEN, HEADS)),
        openfold3.msa.MSAColumnAttention(C_M, HIDDEN, HEADS, INF, openfold3.af2.msa_col_att),
        lambda module, m: module(m, features.msa_mask),
        lambda module, m: module(m, mask=features.msa_mask),
        m=features.m,
    )


def their_global_attention(openfold3: SimpleNamespace) -> nn.Module:
    # OpenFold v2 gives it this small number; openfold3 keeps the layer with another default.
    return openfold3.msa.MSAColumnGlobalAttention(
        C_M, HIDDEN, HEADS, INF, eps=1e-8, linear_init_params=openfold3.af2.msa_row_att
    )


def test_global_column_attention(openfold3, features):
    assert_equal(
        redrawn(MSAColumnGlobalAttention(C_M, HIDDEN, HEADS)),
        their_global_attention(openfold3),
        lambda module, m: module(m, features.msa_mask),
        lambda module, m: module(m, mask=features.msa_mask),
        m=features.m,
    )


@pytest.mark.parametrize("name", ["m", "z"])
def test_transitions(openfold3, features, name):
    x = getattr(features, name)
    assert_equal(
        redrawn(Transition(x.shape[-1], 4)),
        openfold3.ReLUTransition(x.shape[-1], 4),
        lambda module, x: module(x),
        lambda module, x: module(x),
        x=x,
    )


def test_outer_product_mean(openfold3, features):
    assert_equal(
        redrawn(OuterProductMean(C_M, C_Z, HIDDEN)),
        openfold3.OuterProductMean(C_M, C_Z, HIDDEN, linear_init_params=openfold3.af2.opm),
        lambda module, m: module(m, features.msa_mask),
        lambda module, m: module(m, mask=features.msa_mask),
        m=features.m,
    )


@pytest.mark.parametrize("direction", ["outgoing", "incoming"])
def test_triangle_multiplications(openfold3, features, direction):
    theirs = getattr(openfold3.tri_mul, f"TriangleMultiplication{direction.title()}")
    assert_equal(
        redrawn(TriangleMultiplication(C_Z, HIDDEN, direction)),
        theirs(C_Z, HIDDEN, linear_init_params=openfold3.af2.pair_block.tri_mul),
        lambda module, z: module(z, features.pair_mask),
        lambda module, z: module(z, mask=features.pair_mask),
        z=features.z,
    )


@pytest.mark.parametrize("node", ["starting", "ending"])
def test_triangle_attentions(openfold3, features, node):
    theirs = getattr(openfold3.tri_att, f"TriangleAttention{node.title()}Node")
    init = openfold3.af2.pair_block.tri_att
    assert_equal(
        redrawn(TriangleAttention(C_Z, HIDDEN, HEADS, node)),
        theirs(C_Z, HIDDEN, HEADS, inf=INF, linear_init_params=init),
        lambda module, z: module(z, features.pair_mask),
        lambda module, z: module(z, mask=features.pair_mask),
        z=features.z,
    )


def as_af2(pair_block: nn.Module) -> None:
    """Give the ending node AF2's bias b_ki (Algorithm 14).

    openfold3's blocks ask their ending node for `transpose_bias`, b_ik, which is what AlphaFold
    3's code does; its layer without it is OpenFold v2's.
    """
    layer = pair_block.tri_att_end
    plain = layer.forward

    def forward(x: Tensor, mask: Tensor, *, transpose_bias: bool, **_: Any) -> Tensor:
        assert transpose_bias
        return plain(x, mask=mask)

    layer.forward = forward


def test_af2_and_af3_differ_in_the_ending_nodes_bias(openfold3, features):
    ours = redrawn(TriangleAttention(C_Z, HIDDEN, HEADS, "ending"))
    theirs = openfold3.tri_att.TriangleAttention(
        C_Z, HIDDEN, HEADS, inf=INF, linear_init_params=openfold3.af2.pair_block.tri_att
    )
    share_weights(ours, theirs)
    z, mask = features.z.transpose(-2, -3), features.pair_mask.transpose(-1, -2)
    wanted = ours(features.z, features.pair_mask).transpose(-2, -3)
    torch.testing.assert_close(wanted, theirs(z, mask=mask), rtol=0, atol=1e-12)
    assert (wanted - theirs(z, mask=mask, transpose_bias=True)).abs().max() > 1e-3


@pytest.fixture
def config() -> ModelConfig:
    return replace(
        SMALL,
        c_m=C_M,
        c_e=C_M,
        c_z=C_Z,
        c_t=C_Z,
        num_heads_msa=HEADS,
        num_heads_pair=HEADS,
        c_hidden_msa=HIDDEN,
        c_hidden_extra_msa=HIDDEN,
        c_hidden_opm=HIDDEN,
        c_hidden_triangle_multiplication=HIDDEN,
        c_hidden_template_multiplication=HIDDEN,
        c_hidden_triangle_attention=HIDDEN,
        c_hidden_template_attention=HIDDEN,
        num_evoformer_blocks=4,
    )


def their_settings(openfold3: SimpleNamespace) -> dict[str, Any]:
    return {
        "c_m": C_M,
        "c_z": C_Z,
        "c_hidden_msa_att": HIDDEN,
        "c_hidden_opm": HIDDEN,
        "c_hidden_mul": HIDDEN,
        "c_hidden_pair_att": HIDDEN,
        "no_heads_msa": HEADS,
        "no_heads_pair": HEADS,
        "transition_type": "relu",
        "transition_n": 4,
        "msa_dropout": 0.15,
        "pair_dropout": 0.25,
        "no_column_attention": False,
        "opm_first": False,
        "fuse_projection_weights": False,
        "inf": INF,
        "eps": 1e-8,
        "linear_init_params": openfold3.af2,
    }


def compare_blocks(ours: nn.Module, theirs: nn.Module, features: Features) -> None:
    masks = (features.msa_mask, features.pair_mask)
    assert_equal(
        ours,
        theirs,
        lambda module, m, z: module(m, z, *masks),
        lambda module, m, z: module(m, z, *masks, _mask_trans=False),
        m=features.m,
        z=features.z,
    )


def test_evoformer_block(openfold3, features, config):
    theirs = openfold3.EvoformerBlock(**their_settings(openfold3))
    as_af2(theirs.pair_stack)
    compare_blocks(redrawn(EvoformerBlock(config, "evoformer")), theirs, features)


class GlobalColumnAttention(nn.Module):
    """openfold3's layer, deaf to the choices of kernels that its block passes on."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer_norm_m, self.global_attention = layer.layer_norm_m, layer.global_attention
        self.call = layer.forward

    def forward(self, m: Tensor, mask: Tensor, **_: Any) -> Tensor:
        return self.call(m, mask=mask)


def test_extra_msa_block(openfold3, features, config):
    # openfold3 has no extra MSA; AF2's block is its Evoformer block with global column attention.
    theirs = openfold3.EvoformerBlock(**their_settings(openfold3))
    theirs.msa_att_col = GlobalColumnAttention(their_global_attention(openfold3))
    as_af2(theirs.pair_stack)
    compare_blocks(redrawn(EvoformerBlock(config, "extra_msa")), theirs, features)


def test_stack_of_four_blocks(openfold3, features, config):
    theirs = openfold3.EvoformerStack(
        c_s=config.c_s, no_blocks=4, blocks_per_ckpt=None, **their_settings(openfold3)
    )
    for block in theirs.blocks:
        as_af2(block.pair_stack)
    compare_blocks(redrawn(EvoformerStack(config)), theirs, features)


def test_template_pair_block(openfold3, features, config):
    theirs = openfold3.TemplatePairBlock(
        c_t=C_Z,
        c_hidden_tri_mul=HIDDEN,
        c_hidden_tri_att=HIDDEN,
        no_heads=HEADS,
        transition_type="relu",
        pair_transition_n=2,
        dropout_rate=0.25,
        tri_mul_first=False,
        fuse_projection_weights=False,
        ckpt_per_template=False,
        inf=INF,
        linear_init_params=openfold3.af2.pair_block,
    )
    as_af2(theirs)
    assert_equal(
        redrawn(TemplatePairBlock(config)),
        theirs,
        lambda module, t: module(t, features.t_mask),
        lambda module, t: module(t, features.t_mask, _mask_trans=False),
        t=features.t,
    )


def test_the_comparison_can_fail(openfold3, features):
    with pytest.raises(AssertionError, match="output 0"):
        assert_equal(
            redrawn(Transition(C_M, 4)),
            openfold3.ReLUTransition(C_M, 4),
            lambda module, x: module(x),
            lambda module, x: module(x) * (1 + 1e-8),
            x=features.m,
        )
