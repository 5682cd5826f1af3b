"""Boltz-1, whose trunk has modules of its own beside those that it shares with Boltz-2."""

from __future__ import annotations

import pytest

from .steps import beside_benchmarks, builders, built, plan_of


@pytest.mark.parametrize("kind", ["slice", "recompute"])
def test_the_gradients_are_the_plain_ones(kind):
    case = built(builders("boltz").small, version=1)
    plan = plan_of(case.model, kind)
    wanted = {"slice": "msa_transition", "recompute": "pairformer_module.layers.1"}[kind]
    assert any(rule.where.endswith(wanted) for rule in plan.rules)
    error, worst, _ = beside_benchmarks("foreign").worst_difference(case, plan)
    assert error <= 1e-9, worst
