"""The network's tensors by name and shape, against the published numbers and, at hand, the list."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "parameters.py"


@pytest.fixture(scope="module")
def script() -> dict:
    names = runpy.run_path(str(SCRIPT))
    return {**names, "network": cache(names["network"])}


@pytest.fixture(scope="module")
def listed(script, real_data: Path) -> dict:
    tree = real_data.resolve().parent / "openfold_parameters.txt"
    if not tree.exists():
        pytest.skip(f"{tree} is not there")
    return script["read_tree"](tree.read_text())


@pytest.fixture
def run(script, capsys) -> Callable[..., dict]:
    """The command, and the JSON of its last line."""

    def command(*arguments: str) -> dict:
        script["main"](list(arguments))
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    return command


@pytest.mark.parametrize(
    ("name", "tensors", "parameters"),
    [
        ("model_1_ptm", 5046, 93_237_338),
        ("model_2_ptm", 5046, 93_237_338),
        ("model_1", 5044, 93_229_082),
        ("model_3_ptm", 4917, 92_907_930),
        ("model_5", 4915, 92_899_674),
    ],
)
def test_totals(script, name, tensors, parameters):
    assert script["totals"](script["network"](name)) == (tensors, parameters)


def test_each_part(script):
    assert script["by_part"](script["network"]("model_1_ptm")) == {
        "input_embedder": 33_024,
        "recycling_embedder": 2_816,
        "template_embedder": 329_408,
        "extra_msa_embedder": 1_664,
        "extra_msa_stack": 2_805_248,
        "evoformer": 87_936_384,
        "structure_module": 2_019_116,
        "aux_heads": 109_678,
    }


def test_networks_differ_by_templates_and_the_pae_head_alone(script):
    full = script["network"]("model_1_ptm")
    for name, absent in (
        ("model_2", ("aux_heads.tm.",)),
        ("model_4_ptm", ("template_embedder.",)),
        ("model_3", ("aux_heads.tm.", "template_embedder.")),
    ):
        rest = {k: v for k, v in full.items() if not k.startswith(absent)}
        assert script["network"](name) == rest


@pytest.mark.data
def test_every_tensor_is_listed(script, listed):
    listed = {"model_1_ptm": next(iter(listed.values())), **listed}
    for theirs, ours in (
        ("model_1_ptm", "model_1_ptm"),
        ("initial_training", "model_1"),
        ("model_3_ptm", "model_3_ptm"),
    ):
        assert script["mismatches"](script["network"](ours), listed[theirs]) == []


@pytest.mark.data
@pytest.mark.usefixtures("listed")
def test_the_command_prints_what_it_found(run, real_data):
    tree = real_data.resolve().parent / "openfold_parameters.txt"
    assert run("--tree", str(tree)) == {
        "tensors": 5046,
        "parameters": 93_237_338,
        "mismatches": [],
    }


def test_the_command_names_mismatches(tmp_path, run):
    tree = tmp_path / "tree.txt"
    tree.write_text(
        "# some network: 3 tensors\n"
        "input_embedder.linear_tf_m.weight   [256, 23]   x1\n"
        "evoformer.blocks.[0..1].msa_att_row.layer_norm_m.weight   [256]   x2\n"
    )
    found = run("--tree", str(tree))
    assert (
        "input_embedder.linear_tf_m.weight: (256, 22) here, (256, 23) there" in found["mismatches"]
    )
    assert "evoformer.linear.bias: (384,) here, absent there" in found["mismatches"]
    assert len(found["mismatches"]) == 5046 - 2


def test_ranges_stand_for_every_number(script):
    assert script["expand"]("a.[0..1].b.[9..10]") == ["a.0.b.9", "a.0.b.10", "a.1.b.9", "a.1.b.10"]
    with pytest.raises(ValueError, match="stands for 2 names, not 3"):
        script["read_tree"]("# n: 3 tensors\na.[0..1].b   [4]   x3\n")
