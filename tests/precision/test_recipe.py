"""Recipes: what they have every module compute in, of anybody's model; the masters stay."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from sci_memeff import RECIPES, Plan, Recipe, Rule, apply, describe, restore
from sci_memeff.errors import BadPlanError, PrecisionError
from sci_memeff.precision import Computed, recipe_of
from sci_memeff.precision.float8 import Float8

BF16, FP32 = torch.bfloat16, torch.float32
LOW = ("bf16", "bf16-pure", "fp8")
PRODUCT = Computed(inputs="bfloat16", parameters="bfloat16", gives="bfloat16")
NORM = Computed(parameters="inputs", outputs="bfloat16")
WIDE = Computed(inputs="float32", parameters="float32", gives="float32")
NARROW = Recipe(name="mine", products="bfloat16", streams="bfloat16")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


class Tied(nn.Module):
    """Letters in and out by one matrix, a table of positions, convolutions, attention."""

    def __init__(self) -> None:
        super().__init__()
        self.letters = nn.Embedding(7, 8)
        self.positions = nn.Parameter(torch.randn(5, 8))
        self.conv = nn.Sequential(nn.Conv1d(8, 8, 3, padding=1), nn.BatchNorm1d(8), nn.GELU())
        self.attention = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.recurrent = nn.GRU(8, 8, batch_first=True)
        self.norm = nn.RMSNorm(8)
        self.structure_module = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8))
        self.out = nn.Linear(8, 7, bias=False)
        self.out.weight = self.letters.weight

    def forward(self, letters: Tensor) -> Tensor:
        x = self.letters(letters) + self.positions
        x = x + self.conv(x.mT).mT
        x = self.attention(x)
        x = x + self.recurrent(x)[0]
        x = self.structure_module(self.norm(x)) + x
        return self.out(x)


def letters() -> Tensor:
    return torch.randint(7, (2, 5), generator=torch.Generator().manual_seed(1))


def step(model: nn.Module, x: Tensor) -> list[Tensor]:
    model.zero_grad()
    model(x).float().square().sum().backward()
    return [p.grad for p in model.parameters()]


def test_what_each_layer_computes_in():
    model = apply(Tied(), Plan(recipe="bf16-pure"))
    found = {name: seams["precision"] for name, seams in describe(model).items()}
    assert found == {
        "": Computed(parameters="bfloat16"),
        "letters": Computed(outputs="bfloat16"),
        "conv.0": PRODUCT,
        "conv.1": Computed(outputs="bfloat16"),
        "attention.self_attn": PRODUCT,
        "attention.self_attn.out_proj": PRODUCT,
        "attention.linear1": PRODUCT,
        "attention.linear2": PRODUCT,
        "attention.norm1": NORM,
        "attention.norm2": NORM,
        "recurrent": Computed(inputs="float32", gives="float32"),
        "norm": NORM,
        "structure_module": Computed(inputs="float32", gives="float32"),
        "structure_module.0": Computed(parameters="inputs", outputs="float32"),
        "structure_module.1": WIDE,
        "out": PRODUCT,
    }
    wide = {
        name: seams["precision"]
        for name, seams in describe(apply(model, Plan(recipe="bf16"))).items()
    }
    assert wide.pop("letters") == Computed(outputs="float32")
    del found["letters"]
    assert wide == found


@pytest.mark.parametrize("name", LOW)
def test_any_model_trains_by_leaf_rules_alone(name):
    model, x = Tied(), letters()
    exact = step(model, x)
    found = step(apply(model, Plan(recipe=name)), x)
    assert all(g.dtype == FP32 for g in found)
    ours, wanted = (torch.cat([g.flatten() for g in grads]) for grads in (found, exact))
    assert 0.999 < torch.nn.functional.cosine_similarity(ours, wanted, 0) < 1 - 1e-7


@pytest.mark.parametrize("name", LOW)
def test_names_values_types_and_copies_stay(name):
    model = Tied()
    parameters, types = dict(model.named_parameters()), [type(part) for part in model.modules()]
    attributes = {key: dict(vars(part)) for key, part in model.named_modules()}
    state = copy.deepcopy(model.state_dict())
    apply(model, Plan(recipe=name))
    model(letters())
    assert {key: id(p) for key, p in model.named_parameters()} == {
        key: id(p) for key, p in parameters.items()
    }
    assert [type(part) for part in model.modules()] == types
    assert list(model.state_dict()) == list(state)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert describe(other) == describe(model)
        assert torch.equal(other.eval()(letters()), model.eval()(letters()))
        model.train()
    assert describe(restore(model)) == {}
    for key, part in model.named_modules():
        assert vars(part).keys() == attributes[key].keys()
        assert all(vars(part)[at] is value for at, value in attributes[key].items())
    assert all(torch.equal(p, state[key]) for key, p in model.named_parameters())


def test_optimizers_update_the_masters():
    model = apply(Tied(), Plan(recipe="bf16"))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    before = [p.detach().clone() for p in model.parameters()]
    step(model, letters())
    optimizer.step()
    after = list(model.parameters())
    # too little for bfloat16 to tell
    assert all(not torch.equal(p, b) for p, b in zip(after, before, strict=True))
    assert any(torch.equal(p.bfloat16(), b.bfloat16()) for p, b in zip(after, before, strict=True))


def test_an_island_is_float32_with_all_that_is_inside_of_it():
    model = nn.Sequential(nn.Linear(8, 8), nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)))
    recipe = replace(NARROW, islands=("1",))
    apply(model, Plan(recipe=recipe))
    x = torch.randn(3, 8)
    narrow = model[0](x)
    assert narrow.dtype == BF16
    found = model[1](narrow)
    assert found.dtype == FP32
    wide = restore(copy.deepcopy(model[1]))(narrow.float())
    assert torch.equal(found, wide)
    with torch.autocast("cpu", BF16):
        assert torch.equal(model[1](narrow), wide)


def test_a_shared_module_is_in_an_island_if_one_of_its_names_is():
    model = nn.ModuleDict({"a": nn.Linear(8, 8), "b": nn.Sequential(nn.Linear(8, 8))})
    model["b"].append(model["a"])
    apply(model, Plan(recipe=replace(NARROW, islands=("b",))))
    assert model["a"](torch.randn(2, 8).bfloat16()).dtype == FP32


def test_rules_say_otherwise():
    rules = (Rule(where="out", seam="precision", use=replace(PRODUCT, outputs="float32")),)
    model = apply(Tied(), Plan(recipe="bf16", rules=rules))
    assert model(letters()).dtype == FP32
    assert apply(model, Plan(recipe="bf16"))(letters()).dtype == BF16


def test_wide_linear_layers_in_fp8():
    model = nn.Sequential(nn.Linear(128, 256), nn.Linear(256, 64), nn.Linear(256, 100))
    found = describe(apply(model, Plan(recipe="fp8")))
    assert [found[str(i)]["precision"] for i in range(3)] == [Float8(), PRODUCT, PRODUCT]
    island = replace(RECIPES["fp8"], islands=("0",))
    assert describe(apply(model, Plan(recipe=island)))["0"] == {"precision": WIDE}


def test_layers_without_parameters_of_their_own():
    model = nn.Sequential(parametrizations.weight_norm(nn.Linear(8, 8)), nn.ReLU())
    exact = model(torch.ones(2, 8))
    apply(model, Plan(recipe=NARROW))
    found = model(torch.ones(2, 8))
    torch.testing.assert_close(found.float(), exact, rtol=0.05, atol=0.02)
    found.float().sum().backward()
    assert all(p.grad.dtype == FP32 for p in model.parameters())


def test_float32_leaves_everything_as_it_is():
    assert describe(apply(Tied(), Plan(recipe="fp32"))) == {}
    assert Plan(recipe="fp32") != Plan()


def test_recipes_by_name():
    assert Plan(recipe="bf16").recipe is RECIPES["bf16"] is recipe_of("bf16")
    assert Plan(recipe="bf16") == Plan(recipe=RECIPES["bf16"]) != Plan(recipe="bf16-pure")
    assert all(recipe.name == name for name, recipe in RECIPES.items())
    with pytest.raises(BadPlanError, match="mend: give 'bf16'") as caught:
        Plan(recipe="bf61")
    assert "there is no recipe 'bf61'" in str(caught.value)
    with pytest.raises(BadPlanError, match="mend: write <3-11>"):
        Recipe(name="mine", islands=("blocks.<11-3>",))


def test_half_precision_is_no_master():
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8).bfloat16())
    with pytest.raises(BadPlanError, match="mend: keep them in float32, as model") as caught:
        apply(model, Plan(recipe="bf16"))
    assert "parameters of '1' are torch.bfloat16, and the recipe 'bf16'" in str(caught.value)
    assert describe(model) == {}
    assert describe(apply(model, Plan(recipe="fp32"))) == {}
    assert describe(apply(model.double(), Plan(recipe="bf16"))) != {}


def test_modules_of_torchscript_cannot_be_cast_inside():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = nn.Sequential(nn.Linear(2, 2), torch.jit.script(nn.Linear(2, 2)))
    with pytest.raises(BadPlanError, match=r"mend: build the model without torch\.jit\.script"):
        apply(model, Plan(recipe="bf16"))
    assert describe(model) == {}


class Stubborn(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input).float()


class Unsure(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.bfloat16()


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (lambda: Stubborn(8, 8), "a Stubborn, returns torch.float32"),
        (Unsure, "a Unsure, returns torch.bfloat16, and its recipe has it compute in torch.float"),
    ],
)
def test_a_module_with_a_dtype_of_its_own_is_named(make: Callable[[], nn.Module], wrong: str):
    model = nn.ModuleDict({"head": make()})
    islands = ("head",) if make is Unsure else ()
    apply(model, Plan(recipe=replace(NARROW, islands=islands)))
    with pytest.raises(PrecisionError, match="mend: let its forward keep the dtype") as caught:
        model["head"](torch.randn(2, 8))
    assert f"'head', {wrong}" in str(caught.value)
