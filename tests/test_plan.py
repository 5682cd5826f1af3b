"""Plans as values: compared by their rules, copied without the search behind them."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import pytest

from sci_memeff import Plan, Rule
from sci_memeff._prediction import Action, Prediction
from sci_memeff.checkpointing import recomputed
from sci_memeff.chunking import in_slices, whole
from sci_memeff.errors import BadPlanError

RULES = (Rule(where="*", seam="walk", use=in_slices(3)),)
PREDICTION = Prediction(
    target="H100-80GB",
    budget_bytes=6 << 30,
    peak_bytes=5 << 30,
    peak_phase="backward",
    peak_module="evoformer.blocks.47",
    margin=0.07,
    reserved_bytes=int((5 << 30) * 1.07),
    host_bytes=0,
    plain_peak_bytes=40 << 30,
    flops=3 * 10**12,
    plain_flops=2 * 10**12,
    step_seconds=1.5,
    plain_seconds=1.2,
    actions=(Action(where="*", what="x", tier="exact", saved_bytes=3, added_flops=5),),
)


class Search:
    def front(self) -> list[str]:
        return ["a", "b"]

    def __reduce__(self):
        raise AssertionError("a search is not copied")


def test_equality_and_hash_are_those_of_the_rules():
    bare, full = Plan(rules=RULES), Plan(rules=RULES, prediction=PREDICTION, _origin=Search())
    assert bare == full
    assert hash(bare) == hash(full)
    assert Plan() != bare


def test_front_is_that_of_the_search():
    assert Plan(_origin=Search()).front() == ["a", "b"]


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_have_the_prediction_and_no_search(way):
    plan = Plan(rules=RULES, prediction=PREDICTION, _origin=Search())
    found = way(plan)
    assert found == plan
    assert found.prediction == PREDICTION
    for one in (found, Plan(rules=RULES)):
        with pytest.raises(BadPlanError, match=r"mend: call front\(\) on what sci_memeff\.plan"):
            one.front()
    assert plan.front() == ["a", "b"]


def test_what_is_for_another_seam_is_refused_when_the_rule_is_made():
    for use, seam in ((in_slices(3), "iterate"), (whole, "forward"), (recomputed(), "walk")):
        with pytest.raises(BadPlanError, match="mend: put it on the seam '") as caught:
            Rule(where="a.b", seam=seam, use=use)
        assert f"the rule for 'a.b' puts {use} on the seam {seam!r}" in str(caught.value)


def test_ratios():
    assert PREDICTION.flops_ratio == 1.5
    assert PREDICTION.seconds_ratio == 1.25
    nothing = replace(PREDICTION, plain_flops=0, plain_seconds=0.0)
    assert (nothing.flops_ratio, nothing.seconds_ratio) == (1.0, 1.0)
