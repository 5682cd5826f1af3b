"""Gradients of an Evoformer of full width whose boundaries are kept in 8 bits: near the plain ones.

Its weights are random ones without zeros: of fresh ones no gradient goes through most layers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from sci_memeff import Plan, Rule, apply, preset
from sci_memeff._types import Codec, Encoded
from sci_memeff.alphafold.evoformer import EvoformerStack
from sci_memeff.checkpointing import Coded, Device, Store, in_segments
from sci_memeff.precision.codecs import Fp8, Int8

BAR = 0.998
CONFIG = replace(preset("finetuning").model, num_evoformer_blocks=4)
SEQUENCES, RESIDUES = 8, 24


@cache
def model() -> EvoformerStack:
    torch.manual_seed(0)
    made = EvoformerStack(CONFIG)
    for p in made.parameters():
        if p.dim() == 2 and not p.any():
            nn.init.normal_(p, std=p.shape[1] ** -0.5)
    return made


@cache
def gradients(keep: Store | None) -> Tensor:
    """Of all parameters, as one."""
    use = [] if keep is None else [in_segments(1, keep=keep)]
    net = apply(model(), Plan(rules=tuple(Rule(where="", seam="iterate", use=u) for u in use)))
    g = torch.Generator().manual_seed(1)
    m = torch.randn(SEQUENCES, RESIDUES, CONFIG.c_m, generator=g)
    z = torch.randn(RESIDUES, RESIDUES, CONFIG.c_z, generator=g)
    masks = [torch.rand(x.shape[:2], generator=g) < 0.9 for x in (m, z)]
    assert all(mask.any() and not mask.all() for mask in masks)
    torch.manual_seed(2)  # dropout
    outputs = net(m, z, *masks)
    loss = torch.stack([(x - 1).square().mean() for x in outputs]).sum()
    found = torch.autograd.grad(loss, list(net.parameters()))
    return torch.cat([x.flatten() for x in found]).double()


def cosine(keep: Store) -> float:
    return torch.cosine_similarity(gradients(keep), gradients(None), dim=0).item()


def test_boundaries_that_are_not_encoded_change_nothing():
    assert torch.equal(gradients(Device()), gradients(None))


@pytest.mark.parametrize("codec", [Fp8(), Int8(), Int8(32)], ids=str)
def test_eight_bits_are_enough(codec):
    found = cosine(Coded(codec, min_bytes=0))
    assert BAR <= found < 1 - 1e-5


@dataclass(frozen=True)
class Thirds:
    """A codec of one's own: the nearest third of the largest number there is."""

    error: float = 1 / 6

    def encode(self, tensor: Tensor) -> Encoded:
        scale = tensor.abs().amax() / 3
        codes = (tensor / scale).round().to(torch.int8)
        return Encoded((codes, scale), tuple(tensor.shape), tensor.stride(), tensor.dtype)

    def decode(self, encoded: Encoded) -> Tensor:
        codes, scale = encoded.parts
        return (codes * scale).to(encoded.dtype)

    def bytes(self, shape, dtype) -> int:
        return torch.Size(shape).numel() + 4


def test_the_comparison_can_fail():
    assert isinstance(Thirds(), Codec)
    assert cosine(Coded(Thirds(), min_bytes=0)) < 0.98
