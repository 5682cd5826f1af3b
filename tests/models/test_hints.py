"""Every hint, followed in the real package's modules: float64 gradients are the plain ones."""

from __future__ import annotations

import copy
from inspect import signature

import pytest
import torch
from torch import nn

from sci_memeff import Plan, apply, simulate
from sci_memeff.measure import measure
from sci_memeff.models import FAMILIES, families_in, hints

from .steps import beside_benchmarks, builders, built, imported, plan_of, quiet

pytestmark = quiet
NAMES = [family.name for family in FAMILIES]
KINDS = [(name, kind) for name in NAMES for kind in ("slice", "recompute")] + [("mace", "sum")]


@pytest.mark.parametrize("family", FAMILIES, ids=NAMES)
def test_every_class_is_there_and_takes_the_arguments(family):
    builders(family.name)
    for hint in family.seams:
        for name in filter(None, (hint.module_class, hint.inside)):
            module, _, one = name.rpartition(".")
            found = getattr(imported(module), one)
            assert issubclass(found, nn.Module)
            if name == hint.module_class:
                assert hint.in_dims.keys() <= signature(found.forward).parameters.keys(), name


@pytest.mark.parametrize("name", NAMES)
def test_the_family_is_found_and_the_small_model_has_hints_of_most(name):
    case = built(builders(name).small)
    assert [family.name for family in families_in(case.model)] == [name]
    found = hints(case.model)
    assert set(found) <= {part for part, _ in case.model.named_modules()}
    assert {"slice", "recompute"} <= {hint.kind for some in found.values() for hint in some}


@pytest.mark.parametrize(("name", "kind"), KINDS)
def test_followed_everywhere_the_gradients_are_the_plain_ones(name, kind):
    case = built(builders(name).small)
    plan = plan_of(case.model, kind)
    assert len(plan.rules) >= 2
    error, worst, count = beside_benchmarks("foreign").worst_difference(case, plan)
    assert count > 20
    assert error <= 1e-9, worst


@pytest.mark.parametrize("name", NAMES)
def test_the_comparison_can_fail(name):
    case = built(builders(name).small)
    foreign = beside_benchmarks("foreign")
    plain = foreign.answer(case, Plan())
    with torch.no_grad():
        some = max(case.model.parameters(), key=torch.Tensor.numel)
        some += 1e-4
    other = foreign.answer(case, Plan())
    assert any((plain[name] - x).abs().max() > 1e-9 for name, x in other.items())


@pytest.mark.parametrize("name", NAMES)
def test_a_simulation_has_the_bytes_of_the_real_step(name):
    case = built(builders(name).small)
    model = apply(copy.deepcopy(case.model), case.by_hand)
    with case.around():
        simulated = simulate(model, case.step, case.batch)
        with measure(model) as real:
            case.step(model, case.batch).backward()
    assert simulated.peak == pytest.approx(real.peak, rel=0.01)
    assert simulated.flops == real.flops
