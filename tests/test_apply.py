"""A plan's rules, put into a model's seams and taken out again."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from sci_memeff import Plan, Rule, apply, describe, restore
from sci_memeff._types import in_turn, whole
from sci_memeff.alphafold.model import AlphaFold
from sci_memeff.checkpointing import in_segments
from sci_memeff.chunking import in_slices
from sci_memeff.errors import BadPlanError
from tests.alphafold.networks import SMALL, random_batch, redrawn

PLAN = Plan(
    rules=(
        Rule(where="*", seam="walk", use=in_slices(3)),
        Rule(where="*.tri_mul_*", seam="walk", use=in_slices(2, recompute_shared=True)),
        Rule(where="evoformer.blocks.1.msa_att_row", seam="walk", use=whole),
        Rule(where="evoformer", seam="iterate", use=in_segments(2)),
    )
)


@pytest.fixture
def model() -> AlphaFold:
    return redrawn(AlphaFold(SMALL))


def test_the_last_rule_that_matches_holds(model):
    assert apply(model, PLAN) is model
    block = model.evoformer.blocks[1]
    assert block.msa_att_row.walk is whole
    assert block.walk == in_slices(3)
    assert block.pair_stack.tri_mul_in.walk == in_slices(2, recompute_shared=True)
    assert model.evoformer.iterate == in_segments(2)
    assert model.extra_msa_stack.iterate is in_turn
    assert model.structure_module.ipa.walk == in_slices(3)


def test_describe_tells_what_is_not_at_its_default(model):
    assert describe(model) == {}
    plan = Plan(rules=(Rule(where="evoformer", seam="iterate", use=in_segments(2)),))
    assert describe(apply(model, plan)) == {"evoformer": {"iterate": in_segments(2)}}


def test_a_second_plan_takes_the_place_of_the_first(model):
    apply(model, PLAN)
    plan = Plan(rules=(Rule(where="evoformer", seam="iterate", use=in_segments(1)),))
    assert describe(apply(model, plan)) == {"evoformer": {"iterate": in_segments(1)}}
    assert describe(apply(model, Plan())) == {}


def test_restore_gives_the_model_as_it_was(model):
    plain = {name: copy.copy(vars(part)) for name, part in model.named_modules()}
    restore(apply(model, PLAN))
    for name, part in model.named_modules():
        assert all(vars(part)[key] is value for key, value in plain[name].items()), name


def test_parameters_and_answer_stay_as_they_are(model):
    batch = random_batch(1, 7)
    plain = model(batch)["pair"]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    planned = apply(model, PLAN)(batch)["pair"]
    torch.testing.assert_close(planned, plain, rtol=0, atol=1e-11)
    assert list(model.state_dict()) == list(state)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("way", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_plans_and_planned_models_can_be_copied(model, way):
    assert way(PLAN) == PLAN
    assert describe(way(apply(model, PLAN))) == describe(model) != {}


def test_a_rule_that_matches_nothing_is_refused_before_anything_changes(model):
    bad = Plan(rules=(*PLAN.rules, Rule(where="evoformr", seam="iterate", use=in_turn)))
    with pytest.raises(BadPlanError, match="mend: name another; near it are evoformer") as caught:
        apply(model, bad)
    assert "AlphaFold that matches 'evoformr' has a seam called iterate" in str(caught.value)
    assert describe(model) == {}


def test_a_model_without_such_a_seam(model):
    plan = Plan(rules=(Rule(where="*", seam="walk", use=in_slices(3)),))
    with pytest.raises(BadPlanError, match="mend: leave the rule out: no module of this model"):
        apply(nn.Linear(2, 2), plan)
    assert apply(nn.Linear(2, 2), Plan())
