"""The Evoformer in FP8: near float32, and the same in walks and segments as without."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from sci_memeff import Plan, Rule, apply, describe, preset
from sci_memeff.alphafold.evoformer import EvoformerStack
from sci_memeff.checkpointing import Host, in_segments
from sci_memeff.chunking import in_slices
from sci_memeff.precision import Float8, reasons, watch_ranges

CONFIG = replace(
    preset("demo").model,
    num_evoformer_blocks=2,
    c_m=128,
    c_z=128,
    c_hidden_msa=32,
    c_hidden_opm=16,
    c_hidden_triangle_multiplication=128,
    c_hidden_triangle_attention=32,
    num_heads_msa=4,
    num_heads_pair=4,
)
SEQUENCES, RESIDUES = 5, 7
LEAN = (
    Rule(where="*", seam="walk", use=in_slices(3)),
    Rule(where="*.tri_mul_*", seam="walk", use=in_slices(3, recompute_shared=True)),
    Rule(where="", seam="iterate", use=in_segments(1, keep=Host(min_bytes=0))),
)


def build() -> nn.Module:
    torch.manual_seed(0)
    model = EvoformerStack(CONFIG)
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim > 1:  # fresh ones have zeros that hide differences
                p.normal_(std=0.5 * p.shape[1] ** -0.5)
    return model.train()


def batch() -> tuple[Tensor, ...]:
    drawn = torch.Generator().manual_seed(1)
    m, z, msa_mask, pair_mask = (
        torch.randn(shape, generator=drawn)
        for shape in (
            (SEQUENCES, RESIDUES, CONFIG.c_m),
            (RESIDUES, RESIDUES, CONFIG.c_z),
            (SEQUENCES, RESIDUES),
            (RESIDUES, RESIDUES),
        )
    )
    masks = [x > -1 for x in (msa_mask, pair_mask)]
    assert all(mask.any() and not mask.all() for mask in masks)
    return m, z, *masks


def step(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    torch.manual_seed(2)
    m, z, s = model(*batch)
    return m.square().mean() + z.square().mean() + s.square().mean()


@cache
def gradients(plan: Plan) -> dict[str, Tensor]:
    model = apply(build(), plan)
    step(model, batch()).backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def cosine(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> float:
    a, b = (torch.cat([x[name].double().flatten() for name in wanted]) for x in (found, wanted))
    return F.cosine_similarity(a, b, dim=0).item()


def difference(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> float:
    a, b = (torch.cat([x[name].double().flatten() for name in wanted]) for x in (found, wanted))
    return ((a - b).norm() / b.norm()).item()


def test_wide_layers_are_in_fp8_and_for_others_there_is_a_reason():
    model = apply(build(), Plan(recipe="fp8"))
    why, seams = reasons(model), describe(model)
    assert any(why.values())
    assert not all(why.values())
    for name, reason in why.items():
        fp8 = isinstance(seams[name]["precision"], Float8)
        assert fp8 == (reason is None and name != "linear")  # which gives s, and is an island


def test_gradients_are_near_those_of_float32():
    wanted, bf16, fp8 = (gradients(Plan(recipe=name)) for name in (None, "bf16", "fp8"))
    assert all(g.dtype == torch.float32 for g in fp8.values())
    assert cosine(fp8, wanted) > 0.99
    assert difference(fp8, wanted) > 2 * difference(bf16, wanted)


def test_walks_and_segments_change_no_more_than_the_order_of_additions_does():
    """Another order of additions may round a number to the next one, which is 6 % off in FP8."""
    whole, lean = gradients(Plan(recipe="fp8")), gradients(Plan(recipe="fp8", rules=LEAN))
    assert cosine(lean, whole) > 0.999
    assert difference(lean, whole) < difference(whole, gradients(Plan())) / 3


def test_ranges_are_logged_in_walks_and_segments():
    model = apply(build(), Plan(recipe="fp8", rules=LEAN))
    with watch_ranges(model) as ranges:
        step(model, batch()).backward()
    layers = {
        name
        for name, seams in describe(model).items()
        if isinstance(seams.get("precision"), Float8)
    }
    for kind in ("activation", "weight", "gradient"):
        assert {name for name, each in ranges.found if each == kind} == layers
    assert all(0 < found.largest < 1e4 for found in ranges.found.values())
