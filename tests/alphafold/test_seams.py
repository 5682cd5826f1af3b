"""Whatever is put into the seams, the network's answer and gradients are the plain ones.

The walk, iterate and attend of these tests are the simplest that obey the protocols of `_types`.
"""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sci_memeff._types import in_turn, whole
from sci_memeff.alphafold.embedders import ExtraMSAEmbedder, InputEmbedder, RecyclingEmbedder
from sci_memeff.alphafold.evoformer import EvoformerBlock, EvoformerStack, ExtraMSAStack
from sci_memeff.alphafold.geometry import Rigid, quaternion_to_rotation
from sci_memeff.alphafold.invariant_point_attention import InvariantPointAttention
from sci_memeff.alphafold.model import AlphaFold
from sci_memeff.alphafold.msa_attention import (
    MSAColumnAttention,
    MSAColumnGlobalAttention,
    MSARowAttentionWithPairBias,
)
from sci_memeff.alphafold.outer_product_mean import OuterProductMean
from sci_memeff.alphafold.structure_module import StructureModule
from sci_memeff.alphafold.templates import (
    TemplatePairEmbedder,
    TemplatePairStack,
    TemplatePointwiseAttention,
)
from sci_memeff.alphafold.transition import Transition
from sci_memeff.alphafold.triangle_attention import TriangleAttention
from sci_memeff.alphafold.triangle_multiplication import TriangleMultiplication
from sci_memeff.kernels import attention

from .networks import SMALL, random_batch, random_mask, redrawn
from .slices import Slices

S, N, T = 5, 7, 3
SIZES = [1, 2, 3, 5, 100]  # one, not dividing 5 or 7, prime, the whole MSA, larger than any axis


def recomputed(
    steps: Sequence[Callable[..., tuple]],
    carry: tuple,
    *,
    context: Sequence[Tensor] = (),
    every: bool = False,
) -> list[tuple]:
    """An iterate that keeps the carries alone and recomputes each step in the backward pass."""
    carries = []
    for step in steps:
        carry = checkpoint(step, *carry, *context, use_reentrant=False)
        carries = [*carries, carry] if every else [carry]
    return carries or [carry]


def fused(q: Tensor, k: Tensor, v: Tensor, biases: Sequence[Tensor] = ()) -> Tensor:
    """torch's own attention."""
    bias = sum(biases[1:], start=biases[0]) if biases else None
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


def replace_seam(module: nn.Module, name: str, value: Any) -> int:
    """Put `value` into every seam of that name; how many there were."""
    holders = [part for part in module.modules() if hasattr(part, name)]
    for part in holders:
        setattr(part, name, value)
    return len(holders)


# Each walked module with inputs


class Case(NamedTuple):
    module: nn.Module
    inputs: dict[str, Any]  # by parameter of `forward`; floating ones get gradients
    axis: int  # the length of the axis that is walked


def cases() -> dict[str, Case]:
    g = torch.Generator().manual_seed(2)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    m, e, z = normal(2, S, N, SMALL.c_m), normal(2, S, N, SMALL.c_e), normal(2, N, N, SMALL.c_z)
    msa_mask, pair_mask = (random_mask(2, n, N, generator=g) for n in (S, N))
    frames = Rigid(quaternion_to_rotation(normal(2, N, 4)), normal(2, N, 3))
    features = {name: x[..., 0] for name, x in random_batch(2, N, templates=T).items()}
    heads, c = SMALL.num_heads_pair, SMALL.c_hidden_msa
    pair = {"z": z, "mask": pair_mask}
    of_m, of_e = {"m": m, "mask": msa_mask}, {"m": e, "mask": msa_mask}
    found = {
        "row attention": Case(
            MSARowAttentionWithPairBias(SMALL.c_m, SMALL.c_z, c, heads), {**of_m, "z": z}, S
        ),
        "column attention": Case(MSAColumnAttention(SMALL.c_m, c, heads), of_m, N),
        "global attention": Case(MSAColumnGlobalAttention(SMALL.c_e, c, heads), of_e, N),
        "transition": Case(Transition(SMALL.c_m, 4), {"x": m}, S),
        "outer product mean": Case(OuterProductMean(SMALL.c_m, SMALL.c_z, 3), of_m, N),
        "outgoing": Case(TriangleMultiplication(SMALL.c_z, 6, "outgoing"), pair, N),
        "incoming": Case(TriangleMultiplication(SMALL.c_z, 6, "incoming"), pair, N),
        "starting": Case(TriangleAttention(SMALL.c_z, c, heads, "starting"), pair, N),
        "ending": Case(TriangleAttention(SMALL.c_z, c, heads, "ending"), pair, N),
        "block": Case(
            EvoformerBlock(SMALL, "evoformer"),
            {"m": m, "z": z, "msa_mask": msa_mask, "pair_mask": pair_mask},
            N,
        ),
        "extra block": Case(
            EvoformerBlock(SMALL, "extra_msa"),
            {"m": e, "z": z, "msa_mask": msa_mask, "pair_mask": pair_mask},
            N,
        ),
        "points": Case(
            InvariantPointAttention(SMALL),
            {
                "s": normal(2, N, SMALL.c_s),
                "z": z,
                "frames": frames,
                "mask": random_mask(2, N, generator=g),
            },
            N,
        ),
        "input": Case(
            InputEmbedder(SMALL),
            {name: features[name] for name in ("target_feat", "residue_index", "msa_feat")},
            N,
        ),
        "extra input": Case(
            ExtraMSAEmbedder(SMALL),
            {
                "letters": features["extra_msa"],
                "has_deletion": features["extra_has_deletion"],
                "deletion_value": features["extra_deletion_value"],
            },
            len(features["extra_msa"][0]),
        ),
        "recycling": Case(
            RecyclingEmbedder(SMALL),
            {"m_first": m[:, 0], "z": z, "pseudo_beta": 8 * normal(2, N, 3)},
            N,
        ),
        "template pair": Case(TemplatePairEmbedder(SMALL), {"features": features}, N),
        "template points": Case(
            TemplatePointwiseAttention(SMALL),
            {"z": z, "t": normal(2, T, N, N, SMALL.c_t), "mask": features["template_mask"]},
            N,
        ),
    }
    return {name: case._replace(module=redrawn(case.module)) for name, case in found.items()}


CASES = cases()


def answer(module: nn.Module, inputs: dict[str, Any]) -> dict[str, Tensor]:
    """Outputs, and the gradient of each input and parameter."""
    leaves: dict[str, Tensor] = {}

    def leaf(name: str, value: Any) -> Any:
        if isinstance(value, Rigid):
            parts = (leaf(f"{name}.{part}", getattr(value, part)) for part in vars(value))
            return Rigid(*parts)
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        leaves[name] = value.clone().requires_grad_()
        return leaves[name]

    outputs = module(**{name: leaf(name, value) for name, value in inputs.items()})
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    g = torch.Generator().manual_seed(6)
    total = sum((o * torch.randn(o.shape, generator=g, dtype=o.dtype)).sum() for o in outputs)
    wanted = leaves | dict(module.named_parameters())
    found = torch.autograd.grad(total, list(wanted.values()), allow_unused=True)
    gradients = {k: v for k, v in zip(wanted, found, strict=True) if v is not None}
    assert gradients
    return {f"output {i}": o.detach() for i, o in enumerate(outputs)} | gradients


def assert_same(found: dict[str, Tensor], plain: dict[str, Tensor], tolerance: float) -> None:
    """To `tolerance` of each one's largest magnitude."""
    assert found.keys() == plain.keys()
    for name, value in plain.items():
        scale = max(1.0, value.abs().max().item())
        assert (found[name] - value).abs().max() <= tolerance * scale, name


def test_every_walked_module_has_a_case():
    walked = {type(part) for part in AlphaFold(SMALL).modules() if hasattr(part, "walk")}
    assert walked == {type(case.module) for case in CASES.values()}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", CASES)
def test_slices_give_the_plain_answer(name, size):
    module, inputs, axis = CASES[name]
    assert module.walk is whole
    plain = answer(module, inputs)
    walk = Slices(size)
    sliced = copy.deepcopy(module)
    sliced.walk = walk
    assert_same(answer(sliced, inputs), plain, 1e-12)
    assert walk.count >= -(-axis // size)


def test_the_comparison_can_fail():
    module, inputs, _ = CASES["transition"]
    plain = answer(module, inputs)
    with pytest.raises(AssertionError, match="x"):
        assert_same(plain | {"x": plain["x"] * (1 + 1e-10)}, plain, 1e-12)


# The whole network


def loss_and_gradients(model: AlphaFold, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    outputs = model(batch)
    g = torch.Generator().manual_seed(7)
    wanted = {k: v for k, v in flat(outputs).items() if v.requires_grad}
    total = sum(
        (v * torch.randn(v.shape, generator=g, dtype=v.dtype)).sum() / (1 + v.detach().abs().max())
        for v in wanted.values()
    )
    parameters = dict(model.named_parameters())
    found = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
    gradients = dict(zip(parameters, found, strict=True))
    unused = [name for name, gradient in gradients.items() if gradient is None]
    assert unused == []
    return {k: v.detach() for k, v in flat(outputs).items()} | gradients


def flat(outputs: dict) -> dict[str, Tensor]:
    nested = outputs["sm"]
    rest = {name: value for name, value in outputs.items() if name != "sm"}
    return rest | {f"sm.{name}": value for name, value in nested.items()}


@pytest.fixture(scope="module")
def plain() -> tuple[AlphaFold, dict[str, Tensor], dict[str, Tensor]]:
    model = redrawn(AlphaFold(SMALL))
    batch = random_batch(2, N, passes=2)
    return model, batch, loss_and_gradients(model, batch)


@pytest.mark.parametrize("size", [1, 3])
def test_the_whole_network_in_slices(plain, size):
    model, batch, wanted = plain
    model = copy.deepcopy(model)
    walk = Slices(size)
    assert replace_seam(model, "walk", walk) > len(CASES)
    assert_same(loss_and_gradients(model, batch), wanted, 1e-11)
    assert walk.count > 500 / size


def test_the_whole_network_recomputed(plain):
    model, batch, wanted = plain
    model = copy.deepcopy(model)
    assert replace_seam(model, "iterate", recomputed) == 4
    assert_same(loss_and_gradients(model, batch), wanted, 0.0)


def test_the_whole_network_with_another_kernel(plain):
    model, batch, wanted = plain
    model = copy.deepcopy(model)
    assert replace_seam(model, "attend", fused) > 10
    assert_same(loss_and_gradients(model, batch), wanted, 1e-11)


def test_all_three_at_once(plain):
    model, batch, wanted = plain
    model = copy.deepcopy(model)
    for name, value in (("walk", Slices(4)), ("iterate", recomputed), ("attend", fused)):
        replace_seam(model, name, value)
    assert_same(loss_and_gradients(model, batch), wanted, 1e-11)


def test_the_seams_are_these():
    model = AlphaFold(SMALL)
    for part in model.modules():
        for name, default in (("walk", whole), ("iterate", in_turn), ("attend", attention)):
            assert getattr(part, name, default) is default
    iterated = {type(part) for part in model.modules() if hasattr(part, "iterate")}
    assert iterated == {EvoformerStack, ExtraMSAStack, TemplatePairStack, StructureModule}


@pytest.mark.parametrize("way", ["deepcopy", "pickle"])
def test_copies_keep_their_seams(way):
    model = AlphaFold(SMALL)
    model.evoformer.blocks[0].msa_att_row.walk = Slices(3)
    model.structure_module.iterate = recomputed
    if way == "deepcopy":
        copied = copy.deepcopy(model)
    else:
        file = io.BytesIO()
        torch.save(model, file)
        copied = torch.load(io.BytesIO(file.getvalue()), weights_only=False)
    walk = copied.evoformer.blocks[0].msa_att_row.walk
    assert isinstance(walk, Slices)
    assert walk.size == 3
    assert copied.structure_module.iterate is recomputed
    assert copied.evoformer.blocks[1].msa_att_row.walk is whole
    assert copied.evoformer.iterate is in_turn
    assert copied.evoformer.blocks[0].msa_att_col._msa_att.mha.attend is attention


def test_seams_are_no_part_of_the_state():
    model = AlphaFold(SMALL)
    names = list(model.state_dict())
    for name in ("walk", "iterate", "attend"):
        replace_seam(model, name, fused)
    assert list(model.state_dict()) == names


def test_in_turn_keeps_the_last_or_every_carry():
    steps = [lambda x, y, k: (x + k, y * 2)] * 3
    x, y, k = torch.zeros(1), torch.ones(1), torch.ones(1)
    assert in_turn(steps, (x, y), context=(k,)) == [(3, 8)]
    assert in_turn(steps, (x, y), context=(k,), every=True) == [(1, 2), (2, 4), (3, 8)]
    assert in_turn([], (x, y)) == [(x, y)]
