"""Plans in and out of text: the same plan again, and a typed error for everything else."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any, get_args

import pytest

from sci_memeff import RECIPES, Plan, Recipe, Rule
from sci_memeff._plan_json import SCHEMA
from sci_memeff._prediction import Prediction
from sci_memeff._types import in_turn, plainly
from sci_memeff.checkpointing import Coded, Device, Disk, Host, in_segments, recomputed
from sci_memeff.chunking import in_slices, sliced, summed, whole
from sci_memeff.errors import BadConfigError, BadDataError, BadPlanError
from sci_memeff.kernels import Form, attend
from sci_memeff.kernels.forms import form_of
from sci_memeff.precision import Computed
from sci_memeff.precision.codecs import Fp8, Int8
from sci_memeff.precision.float8 import Float8

from .test_plan import PREDICTION

FORMS = [form for form in get_args(Form) if form not in ("triton", "cuequivariance")]
USES = {
    "walk": [whole, in_slices(3), in_slices(32, recompute_shared=True)],
    "iterate": [
        in_turn,
        in_segments(3),
        in_segments((3, 2, 1), inner=in_segments(1, inner=in_turn), keep=Host(ahead=False)),
        in_segments(2, keep=Disk(folder="/tmp/ü", min_bytes=3), spare="matmul", leave=4),
    ],
    "attend": [attend(form) for form in FORMS],
    "forward": [
        plainly,
        recomputed(),
        recomputed(Host(min_bytes=7), spare="attention"),
        recomputed(Device()),
        recomputed(Coded(Fp8())),
        recomputed(Coded(Fp8(32, "stochastic"), Disk(folder="a"), min_bytes=5)),
        recomputed(Coded(Int8(), Host(ahead=False))),
        recomputed(Coded(Int8(32))),
        sliced(4, {"x": -2, 1: -3}, -2),
        sliced(4, {"x": -2}, [-2, -1]),
        summed(4, {"x": -2, 1: -1}, each=recomputed(Host()), sums=(0, 2)),
    ],
    "precision": [
        Computed(inputs="bfloat16", parameters="bfloat16", gives="bfloat16", outputs="float32"),
        Computed(parameters="inputs"),
        Float8("tensorwise"),
    ],
}
MINE = Recipe(
    name="mine",
    products="bfloat16",
    islands=("*head", "blocks.<0-2>"),
    linears=Float8("rowwise", emulate=True),
)
PLAN = Plan(
    recipe=MINE,
    rules=tuple(
        Rule(where=f"blocks.<0-{i}>.*", seam=seam, use=use)
        for seam, uses in USES.items()
        for i, use in enumerate(uses)
    ),
    prediction=PREDICTION,
)


def test_a_plan_comes_back_as_it_was():
    found = Plan.from_json(PLAN.to_json())
    assert found == PLAN
    assert found.prediction == PREDICTION
    assert found.to_json() == PLAN.to_json()
    assert Plan.from_json(Plan().to_json()) == Plan()
    bare = replace(PREDICTION, budget_bytes=None, actions=(), margin=0.0)
    assert Plan.from_json(Plan(prediction=bare).to_json()).prediction == bare


def test_every_figure_of_a_prediction_is_written():
    written = json.loads(PLAN.to_json())["prediction"]
    assert set(written) == {field.name for field in fields(Prediction)}


def test_the_text_is_portable():
    data = json.loads(PLAN.to_json())
    assert data["schema"] == SCHEMA == 2
    assert data["recipe"] == {
        "name": "mine",
        "products": "bfloat16",
        "streams": None,
        "islands": ["*head", "blocks.<0-2>"],
        "linears": {"scaling": "rowwise", "emulate": True},
    }
    assert data["rules"][1] == {
        "where": "blocks.<0-1>.*",
        "seam": "walk",
        "use": {"name": "in_slices", "size": 3, "recompute_shared": False},
    }


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_come_back(name):
    assert Plan.from_json(Plan(recipe=name).to_json()) == Plan(recipe=name) != Plan()


def test_plans_of_the_first_schema_have_no_recipe():
    data = json.loads(Plan(rules=PLAN.rules).to_json())
    del data["recipe"]
    assert Plan.from_json(json.dumps({**data, "schema": 1})) == Plan(rules=PLAN.rules)


def test_what_has_a_default_may_be_left_out():
    use = {"name": "in_segments", "length": [2, 1]}
    rules = [{"where": "*", "seam": "iterate", "use": use}]
    found = Plan.from_json(json.dumps({"schema": 1, "rules": rules}))
    assert found == Plan(rules=(Rule(where="*", seam="iterate", use=in_segments((2, 1))),))
    assert found.prediction is None


def test_a_whole_number_may_be_written_for_any():
    plan = Plan.from_json(altered(["prediction", "margin"], 0))
    assert plan.prediction == replace(PREDICTION, margin=0.0)


def test_files(tmp_path):
    path = tmp_path / "plan.json"
    assert PLAN.save(path) == path
    assert Plan.load(path) == Plan.load(str(path)) == PLAN
    with pytest.raises(BadDataError, match="mend: check the path"):
        Plan.load(tmp_path / "none.json")
    with pytest.raises(BadDataError):
        PLAN.save(path / "under_a_file.json")


def mine(fn, *, rows, shared=(), in_dims, out_dims):
    return fn(*rows, *shared)


@pytest.mark.parametrize(
    ("seam", "use"),
    [("walk", mine), ("iterate", in_segments(2, inner=mine))],
    ids=["walk", "iterate"],
)
def test_what_nobody_else_could_find_is_not_saved(seam, use):
    plan = Plan(rules=(*PLAN.rules, Rule(where="blocks.7", seam=seam, use=use)))
    with pytest.raises(BadPlanError, match="mend: save plans of what in_slices") as caught:
        plan.to_json()
    assert "the rule for 'blocks.7': <function mine" in str(caught.value)


class Mine(Fp8):
    """A codec of somebody's own."""


class Attic(Host):
    """A store of somebody's own."""


@pytest.mark.parametrize(
    ("keep", "mend"),
    [
        (Coded(Mine()), "encode tensors with Fp8"),
        (Coded(Fp8(), Attic()), r"keep tensors in Device\(\), Host\(\) or Disk\(\)$"),
        (Attic(), r"keep tensors in .* or Disk\(\), or in Coded\(…\) of one of them"),
    ],
)
def test_stores_and_codecs_that_nobody_else_could_find_are_not_saved(keep, mend):
    plan = Plan(rules=(Rule(where="*", seam="iterate", use=in_segments(1, keep=keep)),))
    with pytest.raises(BadPlanError, match=f"has no name(.|\n)*mend: {mend}"):
        plan.to_json()


def altered(path: list[Any], value: Any) -> str:
    data = json.loads(PLAN.to_json())
    place = data
    for key in path[:-1]:
        place = place[key]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return json.dumps(data)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["schema"], 3, "schema 3, and this version reads schema 1 and 2(.|\n)*mend: update sci_"),
        (["schema"], None, "no plan: it has no schema(.|\n)*mend: write it as Plan.to_json"),
        (["rule"], [], "the plan has 'rule'(.|\n)*mend: give one of 'rules', or update"),
        (["rules"], {}, "rules is {}, and should be a list"),
        (["rules", 0], 3, r"rules\[0\] is 3, and should be an object"),
        (["rules", 0, "where"], None, r"rules\[0\] has no 'where'"),
        (["rules", 0, "where"], 7, r"rules\[0\]\.where is 7, and should be text"),
        (
            ["rules", 0, "seam"],
            "wlak",
            r"rules\[0\]\.seam is 'wlak'(.|\n)*mend: give one of 'walk'",
        ),
        (["rules", 0, "use"], "whole", r"rules\[0\]\.use is 'whole', and should be an object with"),
        (["rules", 0, "use", "size"], 3, r"rules\[0\]\.use has 'size'(.|\n)*mend: leave it out"),
        (
            ["rules", 1, "use", "name"],
            "in_slice",
            "is 'in_slice'(.|\n)*mend: give one of 'in_slices'",
        ),
        (["rules", 1, "use", "size"], "3", "use.size is '3', and should be a whole number"),
        (["rules", 1, "use", "size"], True, "use.size is True, and should be a whole number"),
        (["rules", 1, "use", "recompute_shared"], 0, "shared is 0, and should be true or false"),
        (["rules", 1, "use", "rows"], 0, "use has 'rows', which this version does not know"),
        (["rules", 5, "use", "keep", "name"], "hots", "is 'hots'(.|\n)*mend: give one of 'host'"),
        (["rules", 5, "use", "length"], [1, "2"], r"use.length\[1\] is '2', and should be a whole"),
        (
            ["rules", 7, "use", "form"],
            "blockd",
            "form is 'blockd'(.|\n)*mend: give one of 'blocked'",
        ),
        (
            ["rules", -10, "use", "keep", "codec", "name"],
            "fp7",
            "'fp7'(.|\n)*mend: give one of 'fp8'",
        ),
        (
            ["rules", -10, "use", "keep", "keep", "name"],
            "coded",
            "(.|\n)*mend: give one of 'device'",
        ),
        (["rules", -5, "use", "in_dims"], [1], r"in_dims is \[1\], and should be an object"),
        (["recipe"], "bf16", "recipe is 'bf16', and should be an object"),
        (["recipe", "name"], None, "recipe has no 'name'"),
        (["recipe", "products"], "bf16", "products is 'bf16'(.|\n)*mend: give one of 'bfloat16'"),
        (["recipe", "islands", 0], 3, r"recipe\.islands\[0\] is 3, and should be text"),
        (["recipe", "linears", "scaling"], "rows", "is 'rows'(.|\n)*mend: give one of 'rowwise'"),
        (["prediction", "flops"], 1.5, "prediction.flops is 1.5, and should be a whole number"),
        (["prediction", "flops"], None, "prediction has no 'flops'"),
        (["prediction", "margin"], "a", "prediction.margin is 'a', and should be a number"),
        (
            ["prediction", "actions", 0, "tier"],
            "exakt",
            "is 'exakt'(.|\n)*mend: give one of 'exact'",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(path, value, message):
    with pytest.raises(BadPlanError, match=message) as caught:
        Plan.from_json(altered(path, value))
    assert "mend: " in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '"schema"'])
def test_other_text(text):
    with pytest.raises(BadPlanError, match=r"mend: write it as Plan\.to_json does"):
        Plan.from_json(text)


def test_settings_out_of_range_are_refused_as_they_are_elsewhere():
    with pytest.raises(BadConfigError, match="mend: give a size of 1 or more"):
        Plan.from_json(altered(["rules", 1, "use", "size"], 0))
    with pytest.raises(BadPlanError, match="mend: write <3-11>"):
        Plan.from_json(altered(["rules", 1, "where"], "blocks.<11-3>"))


def test_every_form_has_its_name_again():
    assert [form_of(attend(form)) for form in FORMS] == FORMS
    assert form_of(mine) is None
    pytest.importorskip("triton")
    assert form_of(attend("triton")) == "triton"
