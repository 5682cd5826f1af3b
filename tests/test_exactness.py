"""Everything that saves memory at once: the training step stays the plain one.

Walks, operands made again, tiled attention, and segments in two levels whose boundaries are
elsewhere: in float64 the loss and every gradient are the plain network's; in bfloat16 they are no
further from float64's than the plain network's are.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from sci_memeff import Plan, apply
from sci_memeff.alphafold.evoformer import EvoformerStack, ExtraMSAStack
from sci_memeff.alphafold.model import AlphaFold
from sci_memeff.checkpointing import Device, Disk, Host
from tests.alphafold.networks import SMALL, random_batch, random_mask, redrawn
from tests.alphafold.training_step import Step, assert_same, loss_and_gradients
from tests.benchmarks.command import module

plans = module("plans")
in_rows, whole_network = plans.in_rows, plans.whole_network

PLANS = {
    "one row": whole_network(1, 1, Device()),
    "on the host": whole_network(3, 2, Host(min_bytes=0)),
    "on disk, two levels": whole_network(4, 2, Disk(min_bytes=0), two_levels=True),
    "all rows": whole_network(100, 100, Device()),
}


@pytest.fixture(scope="module", params=[False, True], ids=["without dropout", "with dropout"])
def plain(request) -> tuple[Step, bool, dict[str, Tensor]]:
    step = Step()
    return step, request.param, loss_and_gradients(step, dropout=request.param)


def planned(step: Step, plan: Plan) -> Step:
    return apply(copy.deepcopy(step), plan)


@pytest.mark.parametrize("name", PLANS)
def test_the_whole_step_in_float64(plain, name):
    step, dropout, wanted = plain
    found = loss_and_gradients(planned(step, PLANS[name]), dropout=dropout)
    assert_same(found, wanted, 1e-10)


def test_two_backward_passes_are_bitwise_equal(plain):
    step, dropout, _ = plain
    step = planned(step, PLANS["on the host"])
    step.model.bfloat16()
    once, again = (loss_and_gradients(step, dropout=dropout) for _ in range(2))
    assert all(torch.equal(value, again[name]) for name, value in once.items())


# In bfloat16, over all gradients and outputs, of weights that bfloat16 holds exactly

WIDER = replace(
    SMALL,
    c_m=64,
    c_z=32,
    c_e=32,
    num_evoformer_blocks=1,
    num_heads_msa=4,
    c_hidden_msa=16,
    c_hidden_opm=8,
    c_hidden_triangle_multiplication=32,
)
SEEDS = range(3)


def stack_answer(stack: nn.Module, dtype: torch.dtype, seed: int) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=g, dtype=torch.float64).to(dtype)

    width = next(stack.parameters()).shape[0]  # of the MSA
    m, z = normal(1, 12, 24, width).requires_grad_(), normal(1, 24, 24, 32).requires_grad_()
    masks = [random_mask(1, n, 24, generator=g).to(dtype) for n in (12, 24)]
    found = stack.to(dtype)(m, z, *masks)
    outs = found[:2] if isinstance(found, tuple) else (found,)
    torch.autograd.backward(outs, [normal(*out.shape) for out in outs])
    gradients = {name: p.grad for name, p in stack.named_parameters()}
    tensors = {"m": m.grad, "z": z.grad, **gradients, **dict(enumerate(outs))}
    return {str(name): x.detach().double() for name, x in tensors.items() if x is not None}


def network_answer(model: nn.Module, dtype: torch.dtype, seed: int) -> dict[str, Tensor]:
    outputs = model.to(dtype)(random_batch(1, 16, seed=seed))
    g = torch.Generator().manual_seed(seed)
    # smooth ones: what depends on positions is chaotic in a network of random weights
    names = ("msa", "pair", "single", "distogram_logits", "masked_msa_logits")
    weights = [torch.randn(outputs[n].shape, generator=g, dtype=torch.float64) for n in names]
    torch.autograd.backward([outputs[n] for n in names], [w.to(dtype) for w in weights])
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {k: v.detach().double() for k, v in (found | {n: outputs[n] for n in names}).items()}


def tamed(model: nn.Module) -> nn.Module:
    """Smaller weights, that bfloat16 holds, so that a rounding is not amplified at every layer."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5 if parameter.ndim > 1 else 1.0)
    return model.bfloat16().double()


def error(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> float:
    """The sum of squares of relative errors."""
    squares = [
        float((found[name] - value).norm() / value.norm()) ** 2
        for name, value in wanted.items()
        if value.norm() > 1e-9
    ]
    assert len(squares) > 20
    return sum(squares)


@pytest.mark.parametrize("rows", [1, 5, 100])
@pytest.mark.parametrize("kind", [EvoformerStack, ExtraMSAStack, AlphaFold])
def test_no_further_from_float64_in_bfloat16(kind, rows):
    answer = network_answer if kind is AlphaFold else stack_answer
    plain = ours = 0.0
    for seed in SEEDS:
        model = tamed(redrawn(kind(WIDER), seed))
        plan = whole_network(rows, 2, Device()) if kind is AlphaFold else in_rows(rows)
        wanted = answer(copy.deepcopy(model), torch.float64, seed)
        plain += error(answer(copy.deepcopy(model), torch.bfloat16, seed), wanted)
        ours += error(answer(apply(copy.deepcopy(model), plan), torch.bfloat16, seed), wanted)
    assert 0 < ours <= 1.1**2 * plain
