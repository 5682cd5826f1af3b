"""A plan's rules, put into a model's seams and taken out again."""

from __future__ import annotations

import copy
import gc
import pickle
import warnings
import weakref
from functools import partial
from inspect import signature
from types import MethodType

import pytest
import torch
from torch import nn

from sci_memeff import Plan, Rule, apply, describe, restore
from sci_memeff._types import in_turn, plainly, whole
from sci_memeff.alphafold.model import AlphaFold
from sci_memeff.checkpointing import Host, in_segments, recomputed
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


# Modules that know of no seam


def foreign() -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dtype=torch.float64)
    return nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)


RECOMPUTED = Plan(rules=(Rule(where="layers.<0-2>", seam="forward", use=recomputed()),))


def test_every_module_has_a_forward():
    model = foreign()
    wanted = {f"layers.{i}": {"forward": recomputed()} for i in range(3)}
    assert describe(apply(model, RECOMPUTED)) == wanted
    assert describe(apply(model, RECOMPUTED)) == wanted
    last = Plan(rules=(Rule(where="layers.<2-3>", seam="forward", use=recomputed(Host())),))
    both = {f"layers.{i}": {"forward": recomputed(Host())} for i in (2, 3)}
    assert describe(apply(model, last)) == both
    back = Plan(rules=(*last.rules, Rule(where="*.3", seam="forward", use=plainly)))
    assert describe(apply(model, back)) == {"layers.2": {"forward": recomputed(Host())}}


def test_restore_leaves_no_forward_behind():
    model = foreign()
    plain = {name: copy.copy(vars(part)) for name, part in model.named_modules()}
    restore(apply(model, RECOMPUTED))
    for name, part in model.named_modules():
        assert vars(part).keys() == plain[name].keys(), name
        assert all(vars(part)[key] is value for key, value in plain[name].items()), name


def test_a_list_of_modules_has_no_forward():
    assert (
        describe(apply(foreign(), Plan(rules=(Rule(where="*", seam="forward", use=plainly),))))
        == {}
    )
    plan = Plan(rules=(Rule(where="layers", seam="forward", use=recomputed()),))
    with pytest.raises(BadPlanError, match="mend: name another; near it are layers"):
        apply(foreign(), plan)


@pytest.mark.parametrize("kind", ["function", "method", "partial"])
def test_a_forward_that_somebody_had_put_is_run_and_given_back(kind):
    model, seen = foreign(), []
    layer = model.layers[0]

    def function(*args, **kwargs):
        seen.append(1)
        return type(layer).forward(layer, *args, **kwargs) * 2

    own = {
        "function": function,
        "method": MethodType(lambda self, *args, **kwargs: function(*args, **kwargs), layer),
        "partial": partial(function),
    }[kind]
    layer.forward = own
    x = torch.randn(2, 3, 8, dtype=torch.float64)
    wanted = gradients_of(model.eval(), x)
    seen.clear()
    found = gradients_of(apply(apply(model, RECOMPUTED), RECOMPUTED), x)
    assert seen == [1, 1]
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert describe(restore(model)) == {}
    assert vars(layer)["forward"] is own


def gradients_of(model: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    model(x).square().sum().backward()
    found = {name: p.grad for name, p in model.named_parameters()}
    assert all(gradient is not None for gradient in found.values())
    return found


def test_modules_of_torchscript_are_refused_by_name():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = nn.Sequential(nn.Linear(2, 2), torch.jit.script(nn.Linear(2, 2)))
    plan = Plan(rules=(Rule(where="*", seam="forward", use=recomputed()),))
    with pytest.raises(BadPlanError, match="mend: name the module that calls it") as caught:
        apply(model, plan)
    assert "'*' matches '1', whose forward is compiled by TorchScript" in str(caught.value)
    assert describe(model) == {}
    others = Plan(rules=(Rule(where="0", seam="forward", use=recomputed()),))
    assert describe(apply(model, others)) == {"0": {"forward": recomputed()}}


def test_a_misspelt_foreign_name_is_refused_before_anything_changes():
    model = foreign()
    plan = Plan(rules=(*RECOMPUTED.rules, Rule(where="layer.3", seam="forward", use=plainly)))
    with pytest.raises(BadPlanError, match=r"mend: name another; near it are layers\.3"):
        apply(model, plan)
    assert describe(model) == {}


def test_the_signature_stays_that_of_the_class():
    model = apply(foreign(), RECOMPUTED)
    layer = model.layers[0]
    assert signature(layer.forward) == signature(MethodType(type(layer).forward, layer))


def test_a_shared_module_is_meant_by_each_of_its_names():
    model = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    model["c"] = model["a"]
    plan = Plan(rules=(Rule(where="c", seam="forward", use=recomputed()),))
    assert describe(apply(model, plan)) == {"a": {"forward": recomputed()}}
    later = Plan(rules=(*plan.rules, Rule(where="a", seam="forward", use=plainly)))
    assert describe(apply(model, later)) == {}


def test_a_planned_model_goes_when_nobody_holds_it():
    gc.collect()
    gc.disable()
    try:
        model = apply(foreign(), RECOMPUTED)
        forward, kept = model.layers[0].forward, weakref.ref(model)
        del model
        assert kept() is None
    finally:
        gc.enable()
    with pytest.raises(BadPlanError, match="mend: hold the module for as long as its forward"):
        forward(torch.ones(1, 2, 8))
