"""AlphaFold under recipes: what computes in what, and that whatever saves memory goes with it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sci_memeff import Plan, Rule, apply
from sci_memeff.alphafold.model import AlphaFold
from sci_memeff.checkpointing import Device, Host, Store
from sci_memeff.kernels import Form, attend
from tests.alphafold.networks import random_batch, redrawn
from tests.alphafold.training_step import Step, examples
from tests.benchmarks.command import module
from tests.test_exactness import WIDER, tamed

plans = module("plans")
BF16, FP32 = torch.bfloat16, torch.float32
RECIPES = ("bf16", "bf16-pure")
ROUNDING = 0.02  # norms of gradients that are zero stay below, and others above
SMOOTH = ("msa", "pair", "single", "distogram_logits", "masked_msa_logits")


def network(seed: int = 0) -> nn.Module:
    return tamed(redrawn(AlphaFold(WIDER), seed)).float()


def batch() -> dict[str, Tensor]:
    return {k: v.float() if v.is_floating_point() else v for k, v in random_batch(1, 16).items()}


def answer(model: nn.Module, given: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Some outputs, and the gradients of all parameters."""
    model.zero_grad()
    outputs = model(given or batch())
    g = torch.Generator().manual_seed(0)
    weights = [torch.randn(outputs[n].shape, generator=g) for n in SMOOTH]
    torch.autograd.backward(
        [outputs[n] for n in SMOOTH],
        [w.to(outputs[n]) for n, w in zip(SMOOTH, weights, strict=True)],
    )
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return found | {name: outputs[name].detach() for name in SMOOTH}


def error(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> float:
    """The mean of squares of relative errors, of what is not zero but for rounding."""
    assert found.keys() == wanted.keys()
    squares = [
        float((found[name].float() - x.float()).norm() / x.float().norm()) ** 2
        for name, x in wanted.items()
        if x.norm() > ROUNDING
    ]
    assert len(squares) > 250
    return sum(squares) / len(squares)


class Products(TorchDispatchMode):
    """The dtypes of what matrix products and softmaxes read, by the part of the model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.found: dict[str, set[torch.dtype]] = defaultdict(set)
        self.inside = [""]
        for name, part in model.named_modules():
            if name.count(".") == 0 or ".blocks." in name or "template" in name:
                part.register_forward_pre_hook(lambda *_, n=name: self.inside.append(n))
                part.register_forward_hook(self.leave)

    def leave(self, *_: Any) -> None:
        self.inside.pop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(word in str(func) for word in ("mm", "softmax")):
            dtypes = {x.dtype for x in tree_leaves(args) if isinstance(x, Tensor)}
            self.found[self.inside[-1]] |= dtypes
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", RECIPES)
def test_every_product_of_the_blocks_is_in_bfloat16_and_of_geometry_in_float32(name):
    model = apply(network(), Plan(recipe=name))
    with Products(model) as products:
        model(batch())
    blocks = {part: dtypes for part, dtypes in products.found.items() if "blocks" in part}
    assert len(blocks) > 20
    assert {dtype for dtypes in blocks.values() for dtype in dtypes} == {BF16}
    assert products.found["structure_module"] == products.found["aux_heads"] == {FP32}
    begins = BF16 if name == "bf16-pure" else FP32
    assert products.found["input_embedder"] == products.found["extra_msa_embedder"] == {begins}
    with Products(apply(model, Plan())) as plain:
        model(batch())
    assert all(dtypes == {FP32} for dtypes in plain.found.values())


@pytest.mark.parametrize("name", RECIPES)
def test_streams_and_outputs(name):
    out = apply(network(), Plan(recipe=name))(batch())
    streams = {"msa", "pair"}
    assert {out[key].dtype for key in streams} == {BF16 if name == "bf16-pure" else FP32}
    others = [x for key, x in out.items() if key not in streams]
    floats = [x for x in tree_leaves(others) if x.is_floating_point()]
    assert len(floats) > 10
    assert {x.dtype for x in floats} == {FP32}


@pytest.mark.parametrize("name", RECIPES)
def test_gradients_are_close_to_those_of_float32(name):
    model = network()
    wanted = answer(model)
    found = answer(apply(model, Plan(recipe=name)))
    names = [key for key in wanted if key not in SMOOTH]
    assert all(found[key].dtype == FP32 for key in names)
    a, b = (torch.cat([x[key].flatten() for key in names]).double() for x in (found, wanted))
    assert 0.999 < torch.nn.functional.cosine_similarity(a, b, dim=0) < 1 - 1e-8


def saving(rows: int, keep: Store, form: Form) -> tuple[Rule, ...]:
    rules = plans.whole_network(rows, 2, keep).rules
    return tuple(replace(r, use=attend(form)) if r.seam == "attend" else r for r in rules)


@pytest.mark.parametrize("name", RECIPES)
def test_what_saves_memory_goes_with_it(name):
    model = network()
    wanted = answer(model)
    plain = answer(apply(model, Plan(recipe=name)))
    # in one slice, nothing is added up in another order: not a bit differs
    whole = answer(apply(model, Plan(recipe=name, rules=saving(100, Device(), "reference"))))
    assert all(torch.equal(x, plain[key]) for key, x in whole.items())
    apply(model, Plan(recipe=name, rules=saving(5, Host(min_bytes=0), "streaming")))
    sliced = answer(model)
    assert 0 < error(sliced, wanted) <= 2 * error(plain, wanted)  # a mean of squares
    again = answer(model)
    assert all(torch.equal(x, again[key]) for key, x in sliced.items())
    assert all(x.dtype == FP32 for key, x in sliced.items() if key not in SMOOTH)


@pytest.mark.parametrize("form", ["reference", "streaming", "blocked"])
def test_every_form_of_attention_takes_a_recipe_s_operands(form):
    model = apply(network(), Plan(recipe="bf16"))
    wanted = answer(model)
    for part in model.modules():
        if "attend" in vars(part):
            part.attend = attend(form)
    assert error(answer(model), wanted) < 1e-3


def test_autocast_around_changes_no_island():
    model = apply(network(), Plan(recipe="bf16"))
    wanted = answer(model)
    with torch.autocast("cpu", BF16), Products(model) as products:
        found = answer(model)
    assert products.found["structure_module"] == {FP32}
    assert error(found, wanted) < 1e-3


def test_a_training_step_with_its_losses():
    step = Step()
    step.model.float()
    given = [
        {k: v.float() if v.is_floating_point() else v for k, v in one.items()} for one in examples()
    ]
    losses = {}
    for name in (None, *RECIPES):
        loss = apply(step, Plan(recipe=name))(*given)
        assert loss.dtype == FP32
        loss.backward()
        losses[name] = loss.item()
    assert losses["bf16"] == pytest.approx(losses[None], rel=0.02)
    assert losses["bf16-pure"] == pytest.approx(losses[None], rel=0.02)
    assert len(set(losses.values())) == 3


@pytest.mark.gpu
@pytest.mark.parametrize("name", RECIPES)
def test_on_a_gpu(name):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    model = network().cuda()
    given = {key: x.cuda() for key, x in batch().items()}
    wanted = answer(model, given)
    rules = saving(5, Device(), "auto")
    for plan in (Plan(recipe=name), Plan(recipe=name, rules=rules)):
        found = answer(apply(model, plan), given)
        assert error(found, wanted) < 1e-3
