"""Gradients that are released inside the backward pass: the update is the held one's."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from sci_memeff import Plan, Rule, apply
from sci_memeff._types import in_turn, whole
from sci_memeff.alphafold.model import AlphaFold
from sci_memeff.checkpointing import in_segments
from sci_memeff.chunking import in_slices
from sci_memeff.training.states import AdamWithAverage
from tests.alphafold.networks import SMALL, random_batch, redrawn

from .small_nets import CONFIG, RELEASED, backward, net


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_released_gradients_give_the_same_bits(dtype):
    held, released = net(dtype), net(dtype)
    ours, other = AdamWithAverage(held, CONFIG), AdamWithAverage(released, RELEASED)
    for update in range(6):
        for model, optimizer in ((held, ours), (released, other)):
            model.two.requires_grad_(update % 3 != 1)
            before = {n: p.detach().clone() for n, p in model.named_parameters()}
            backward(model, update)
            if model is released:
                assert all(p.grad is None for p in model.parameters())
                assert not torch.equal(model.one.weight, before["one.weight"])
            optimizer.step()
    for p, q in zip(held.parameters(), released.parameters(), strict=True):
        assert torch.equal(p, q)
        assert torch.equal(ours.average(p), other.average(q))
        assert ours.state.get(p, {}).keys() == other.state.get(q, {}).keys()
        for key, value in ours.state.get(p, {}).items():
            assert torch.equal(value, other.state[q][key])
    assert other.state[released.two.weight]["step"] == 4
    assert other.state[released.one.weight]["step"] == 6


def test_the_norm_of_released_gradients():
    held, released = net(), net()
    optimizer = AdamWithAverage(released, RELEASED)
    for update in range(2):
        backward(held, update)
        norm = nn.utils.get_total_norm([p.grad for p in held.parameters() if p.grad is not None])
        backward(released, update)
        assert optimizer.released_norm() == pytest.approx(float(norm), rel=1e-6)
        assert optimizer.released_norm() == 0.0  # it is told once
        held.zero_grad()
        released.load_state_dict(held.state_dict())


def test_what_comes_after_a_gradient_that_is_not_finite_is_not_updated():
    torch.manual_seed(0)
    model = nn.Sequential(*[nn.Linear(4, 4) for _ in range(4)])
    optimizer = AdamWithAverage(model, RELEASED)
    model(torch.randn(2, 4)).sum().backward()
    optimizer.step()
    before = [p.detach().clone() for p in model.parameters()]
    counts = [float(optimizer.state[p]["step"]) for p in model.parameters()]
    spoil = model[2].register_full_backward_hook(lambda *_: (torch.full((2, 4), float("nan")),))
    model(torch.randn(2, 4)).sum().backward()
    spoil.remove()
    assert not math.isfinite(optimizer.released_norm())
    changed = [not torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True)]
    assert changed == [False] * 4 + [True] * 4  # weight and bias of four layers
    grown = [float(optimizer.state[p]["step"]) for p in model.parameters()]
    assert [new - old for new, old in zip(grown, counts, strict=True)] == [0] * 4 + [1] * 4
    assert all(p.grad is None for p in model.parameters())
    model(torch.randn(2, 4)).sum().backward()  # and the next update is one again
    optimizer.step()
    assert math.isfinite(optimizer.released_norm())
    for p, old in zip(model.parameters(), before, strict=True):
        assert p.isfinite().all()
        assert all(value.isfinite().all() for value in optimizer.state[p].values())
        assert not torch.equal(p, old)


@pytest.mark.parametrize(
    "walk",
    [whole, in_slices(3), in_slices(3, recompute_shared=True)],
    ids=["whole", "in slices", "shared operands made again"],
)
@pytest.mark.parametrize(
    "iterate",
    [in_turn, in_segments(2, inner=in_segments(1)), in_segments(2, spare="matmul")],
    ids=["in turn", "in two levels", "but products"],
)
def test_shared_and_recomputed_parameters_are_updated_once(walk, iterate):
    """AlphaFold: iterations that share weights, recycling, dropout, recomputation."""
    plan = Plan(
        rules=(
            Rule(where="*", seam="walk", use=walk),
            Rule(where="*", seam="iterate", use=iterate),
        )
    )
    shape = replace(SMALL, num_evoformer_blocks=3, num_extra_msa_blocks=2)
    batch = random_batch(2, 7, passes=2)
    results = []
    for config in (CONFIG, RELEASED):
        model = apply(redrawn(AlphaFold(shape)).train(), plan)
        optimizer = AdamWithAverage(model, config)
        for update in (1, 2):
            torch.manual_seed(update)
            out = model(batch)
            out |= {f"sm.{name}": x for name, x in out.pop("sm").items()}
            sum(x.square().mean() for x in out.values() if x.requires_grad).backward()
            optimizer.step()
            assert all(optimizer.state[p]["step"] == update for p in model.parameters())
        results.append([x for p in model.parameters() for x in (p, optimizer.average(p))])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))
