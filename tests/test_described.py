"""What `describe` tells: a mapping like a dict, and a table with like modules in one line."""

from __future__ import annotations

import copy
from collections import OrderedDict

import pytest
from torch import nn

from sci_memeff import Plan, Rule, apply, describe
from sci_memeff._described import Described
from sci_memeff.checkpointing import recomputed
from sci_memeff.precision import Computed


def model() -> nn.Sequential:
    blocks = (
        nn.Sequential(OrderedDict(norm=nn.LayerNorm(128), linear=nn.Linear(128, 128)))
        for _ in range(3)
    )
    return nn.Sequential(*blocks, nn.Linear(128, 64))


def told(model: nn.Module) -> list[list[str]]:
    """The words of each line of the table."""
    lines = str(describe(model)).splitlines()
    return [[word.strip() for word in line.split("  ") if word.strip()] for line in lines]


def test_it_is_a_mapping_that_equals_a_dict():
    found = describe(apply(model(), Plan(recipe="bf16")))
    assert isinstance(found, Described)
    assert len(found) == len(list(found)) == 7
    norm = {"precision": Computed(parameters="inputs", outputs="bfloat16")}
    assert found["0.norm"] == norm
    assert {name: seams for name, seams in found.items() if name == "0.norm"} == {"0.norm": norm}
    assert found == dict(found) == copy.deepcopy(found)
    assert found != {"0.norm": norm}
    assert found != 3
    with pytest.raises(TypeError):
        hash(found)


def test_like_modules_are_one_line():
    rules = (
        Rule(where="1", seam="forward", use=recomputed()),
        Rule(where="1.linear", seam="precision", use=Computed(inputs="float32")),
    )
    assert told(apply(model(), Plan(recipe="bf16", rules=rules))) == [
        ["module", "seam", "what is done"],
        ["3 × *.norm", "precision", "parameters in the dtype of its input, result in bfloat16"],
        ["2 × *.linear", "precision", "in bfloat16"],
        ["1", "forward", "recomputed"],
        ["1.linear", "precision", "in float32"],
        ["3", "precision", "in bfloat16"],
    ]


def test_why_a_layer_is_not_in_fp8_is_told_where_others_are():
    lines = told(apply(model(), Plan(recipe="fp8")))
    assert lines[2][:2] == ["3 × *.linear", "precision"]
    assert lines[2][2].startswith("FP8 rowwise_with_gw_hp")
    assert lines[3][2].startswith("in bfloat16; no FP8: its inner dimension 64 is below 128")
    assert "FP8" not in str(describe(apply(model(), Plan(recipe="bf16"))))


def test_nothing_to_tell():
    assert str(describe(model())) == "every seam is at its default"
    assert describe(model()) == {}
    whole = apply(nn.Linear(2, 2), Plan(recipe="bf16"))
    assert told(whole)[1] == ["the model", "precision", "in bfloat16"]
