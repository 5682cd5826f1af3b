"""Plans in models that nobody wrote for them: the same answer, the same names, and copies."""

from __future__ import annotations

import copy
import io
import pickle
from dataclasses import replace

import pytest
import torch
from torch import nn

from sci_memeff import Plan, apply, describe, measure, restore, simulate
from sci_memeff.checkpointing import Host, recomputed

from .foreign_nets import NETS, answer, assert_same, batch, made

ALL = pytest.mark.parametrize("name", NETS)


@ALL
def test_the_answer_every_gradient_and_every_buffer_are_the_plain_ones(name):
    plain = answer(made(name), batch(name))
    model = apply(made(name), NETS[name].plan)
    assert len(describe(model)) >= 3
    assert_same(answer(model, batch(name)), plain)
    with pytest.raises(AssertionError):
        assert_same(answer(made(name).eval(), batch(name)), plain)


@ALL
def test_names_and_types_stay(name):
    model = made(name)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    parameters = dict(model.named_parameters(remove_duplicate=False))
    parts = {key: (part, type(part)) for key, part in model.named_modules(remove_duplicate=False)}
    attributes = {key: set(vars(part)) for key, part in model.named_modules()}
    apply(model, NETS[name].plan)
    assert list(model.state_dict()) == list(state)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    named = dict(model.named_parameters(remove_duplicate=False))
    assert named.keys() == parameters.keys()
    assert all(named[key] is value for key, value in parameters.items())
    for key, part in model.named_modules(remove_duplicate=False):
        assert part is parts[key][0]
        assert type(part) is parts[key][1]
    for key, part in model.named_modules():
        assert set(vars(part)) - attributes[key] <= {"forward"}
    assert made(name).load_state_dict(model.state_dict()).missing_keys == []


@ALL
def test_applying_twice_replaces_and_restoring_gives_the_model_back(name):
    model, plan = made(name), NETS[name].plan
    plain = {key: copy.copy(vars(part)) for key, part in model.named_modules()}
    once = describe(apply(model, plan))
    assert describe(apply(model, plan)) == once
    some = Plan(rules=plan.rules[:1])
    assert describe(apply(model, some)) == describe(apply(made(name), some)) != once
    apply(model, plan)
    assert restore(model) is model
    for key, part in model.named_modules():
        assert vars(part).keys() == plain[key].keys()
        assert all(vars(part)[attribute] is value for attribute, value in plain[key].items())
    assert_same(answer(model, batch(name)), answer(made(name), batch(name)))


def through_file(model: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@ALL
@pytest.mark.parametrize(
    "way", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model)), through_file]
)
def test_copies_are_planned_models_of_their_own(name, way):
    model = apply(made(name), NETS[name].plan)
    found = way(model)
    assert type(found) is type(model)
    assert describe(found) == describe(model)
    plain = answer(made(name), batch(name))
    assert_same(answer(found, batch(name)), plain)
    assert all(p.grad is None for p in model.parameters())
    assert describe(restore(found)) == {}
    assert describe(model) != {}


@ALL
def test_a_state_dict_may_be_loaded_before_and_after(name):
    model, other = apply(made(name), NETS[name].plan), made(name)
    with torch.no_grad():
        for p in other.parameters():
            p.mul_(1.5)
    state = {key: value.clone() for key, value in other.state_dict().items()}
    model.load_state_dict(state)
    assert_same(answer(model, batch(name)), answer(other, batch(name)))


@ALL
def test_simulated_bytes_and_flops_are_the_measured_ones(name):
    # the host's copies are on the CPU, and count there in a real run alone
    rules = [rule for rule in NETS[name].plan.rules if rule.use != recomputed(Host(min_bytes=0))]
    plan = replace(NETS[name].plan, rules=tuple(rules))
    x = torch.cat([batch(name)] * 16)
    simulated = simulate(lambda: _planned(name, plan), _squares, x.to("meta"), device="cpu")
    model = _planned(name, plan)
    with measure(model) as measured:
        _squares(model, x).backward()
    assert (simulated.peak, simulated.flops) == (measured.peak, measured.flops)


def _planned(name: str, plan: Plan) -> nn.Module:
    return apply(NETS[name].make().double(), plan)


def _squares(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return model(x).square().sum()
