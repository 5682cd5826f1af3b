"""Which modules of openfold3 have which hints."""

from __future__ import annotations

from collections import Counter

import pytest

from sci_memeff.models import hints

from .steps import beside_benchmarks, builders, built, plan_of, quiet

pytestmark = quiet


def test_the_pairformer_has_its_hints():
    found = hints(built(builders("openfold3").small).model)
    blocks = {name: found[name] for name in ("blocks.0", "blocks.1")}
    assert all([hint.kind for hint in some] == ["recompute"] for some in blocks.values())
    kinds = Counter((hint.kind, name.rpartition(".")[2]) for name in found for hint in found[name])
    assert kinds["slice", "mha"] == 4, "two triangle attentions a block, not the single one's"
    assert kinds["slice", "pair_transition"] == kinds["slice", "single_transition"] == 2
    assert kinds["recompute", "tri_mul_out"] == kinds["recompute", "attn_pair_bias"] == 2
    rows = {name: hint.in_dims for name in found for hint in found[name] if hint.kind == "slice"}
    assert rows["blocks.1.pair_stack.pair_transition"] == {"x": -3, "mask": -2}
    assert rows["blocks.1.single_transition"] == {"x": -2, "mask": -1}


@pytest.mark.parametrize("stack", ["msa_module", "evoformer"])
@pytest.mark.parametrize("kind", ["slice", "recompute"])
def test_in_stacks_with_an_msa_the_gradients_are_the_plain_ones(stack, kind):
    case = built(builders("openfold3").small_with_msa, stack)
    plan = plan_of(case.model, kind)
    wanted = {"slice": "msa_att_row", "recompute": "outer_product_mean"}[kind]
    assert any(wanted in rule.where for rule in plan.rules)
    error, worst, _ = beside_benchmarks("foreign").worst_difference(case, plan)
    assert error <= 1e-9, worst
