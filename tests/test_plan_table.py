"""Plans as tables: a line for every action or rule, every figure in the head."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sci_memeff import Plan, Rule
from sci_memeff._plan_table import in_words
from sci_memeff._prediction import Action
from sci_memeff._types import in_turn, plainly
from sci_memeff.checkpointing import Coded, Disk, Host, in_segments, recomputed
from sci_memeff.chunking import in_slices, sliced, summed, whole
from sci_memeff.kernels import attend
from sci_memeff.precision import Computed
from sci_memeff.precision.codecs import Fp8, Int8
from sci_memeff.precision.float8 import Float8

from .test_plan import PREDICTION

RULES = (
    Rule(where="*", seam="walk", use=in_slices(32)),
    Rule(where="evoformer", seam="iterate", use=in_segments(3, keep=Host())),
)


def mine(forward, args, kwargs):
    return forward(*args, **kwargs)


@pytest.mark.parametrize(
    ("use", "words"),
    [
        (whole, "plain"),
        (in_turn, "plain"),
        (plainly, "plain"),
        (in_slices(32), "walked 32 rows at a time"),
        (in_slices(8, recompute_shared=True), "walked 8 rows at a time, operands walked again"),
        (sliced(8, {"x": -2, 1: -2}), "walked 8 rows of x, argument 1 at a time"),
        (
            summed(8, {"x": -2}, each=recomputed()),
            "added up 8 rows of x at a time, each recomputed",
        ),
        (in_segments(3), "recomputed 3 at a time"),
        (in_segments((3, 2), keep=Disk()), "recomputed in segments of 3, 2, kept on the disk"),
        (in_segments(3, keep=Coded(Fp8())), "recomputed 3 at a time, kept in fp8"),
        (
            recomputed(Coded(Int8(32, "stochastic"), Host())),
            "recomputed, kept in int8 in groups of 32, rounded stochastically on the host",
        ),
        (in_segments(3, leave=2), "recomputed 3 at a time, the last 2 left plain"),
        (
            in_segments(7, inner=in_segments(1)),
            "recomputed 7 at a time, within them recomputed 1 at a time",
        ),
        (recomputed(), "recomputed"),
        (recomputed(Host(), "matmul"), "recomputed, kept on the host, but not matmul"),
        (attend("streaming"), "attention: streaming"),
        (
            Computed(inputs="bfloat16", parameters="bfloat16", outputs="float32"),
            "in bfloat16, result in float32",
        ),
        (Computed(inputs="float32", parameters="bfloat16"), "in float32, parameters in bfloat16"),
        (
            Computed(parameters="inputs", outputs="bfloat16"),
            "parameters in the dtype of its input, result in bfloat16",
        ),
        (Computed(), "as it is"),
        (Float8("rowwise", emulate=True), "FP8 rowwise, emulated"),
        pytest.param(mine, repr(mine), id="somebody's own"),
    ],
)
def test_words(use, words):
    assert in_words(use) == words


def test_a_recipe_stands_above_all():
    first, *rest = str(Plan(rules=RULES, recipe="bf16-pure")).splitlines()
    assert first.startswith("recipe bf16-pure: products in bfloat16; streams in bfloat16; in float")
    assert first.endswith("in float32 *structure_module, *aux_heads, *evoformer.linear")
    assert "\n".join(rest) == str(Plan(rules=RULES))
    with_prediction = str(Plan(rules=RULES, recipe="fp8", prediction=PREDICTION))
    assert with_prediction.startswith("recipe fp8: products in bfloat16; wide linear layers in FP8")
    assert with_prediction.endswith(str(Plan(rules=RULES, prediction=PREDICTION)))
    assert str(Plan(recipe="fp32")) == "recipe fp32: everything as it is"


def test_rules_alone():
    lines = str(Plan(rules=RULES)).splitlines()
    assert [line.split("  ")[0] for line in lines] == ["module", "*", "evoformer"]
    assert lines[2].endswith("iterate  recomputed 3 at a time, kept on the host")
    assert str(Plan()) == "no rules: the model is left as it is"


def test_a_prediction_stands_above_its_actions():
    actions = (
        Action(where="*", what="walked", tier="exact", saved_bytes=3 << 30, added_flops=2 * 10**9),
        Action(
            where="evoformer", what="3 at a time", tier="rounding", saved_bytes=0, added_flops=0
        ),
    )
    prediction = replace(PREDICTION, actions=actions, host_bytes=1 << 20)
    text = str(Plan(rules=RULES, prediction=prediction))
    for part in (
        "predicted peak on H100-80GB: 5.00 GiB live, 5.35 GiB with 7.0% for the allocator",
        "of a budget of 6.00 GiB",
        "where: backward, evoformer.blocks.47\n",
        "plain: 40.00 GiB live",
        "on the host: 1.00 MiB",
        "1.50 × the FLOPs of the plain step (3.00 TFLOP), 1.25 × its time (1.5 s)",
    ):
        assert part in text
    head, first, second = text.split("\n\n")[1].splitlines()
    assert head.split("  ")[0] == "module"
    assert first.split() == ["*", "walked", "exact", "3.00", "GiB", "2.00", "GFLOP"]
    assert second.split("  ")[0] == "evoformer"
    assert "rounding" in second


def test_without_a_budget_or_actions():
    prediction = replace(PREDICTION, budget_bytes=None, actions=(), peak_module="")
    text = str(Plan(rules=RULES, prediction=prediction))
    assert "budget" not in text
    assert "on the host:" not in text
    assert "where: backward\n" in text
    assert text.endswith(str(Plan(rules=RULES)))
