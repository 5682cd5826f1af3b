"""Casts around a module: in, on its parameters, out; the masters stay as they are."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from sci_memeff import Plan, Rule, apply, describe, restore
from sci_memeff.checkpointing import in_segments, recomputed
from sci_memeff.chunking import sliced, walk
from sci_memeff.errors import BadPlanError, PrecisionError
from sci_memeff.precision import Computed

BF16, FP32 = torch.bfloat16, torch.float32
IN_BF16 = Computed(inputs="bfloat16", parameters="bfloat16", gives="bfloat16")
NORM = Computed(parameters="inputs", outputs="bfloat16")


class Scaled(nn.Module):
    """Parameters of its own, read in a walk."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(6))
        self.seen: list[torch.dtype] = []

    def forward(self, x: torch.Tensor, *, shift: torch.Tensor | None = None) -> torch.Tensor:
        found = walk(self.rows, rows=(x,), in_dims=-2, out_dims=-2, size=2)
        return found if shift is None else found + shift

    def rows(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(self.scale.dtype)
        return x * self.scale


def put(module: nn.Module, use: Computed, where: str = "") -> nn.Module:
    return apply(module, Plan(rules=(Rule(where=where, seam="precision", use=use),)))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_a_linear_computes_in_bfloat16_and_its_gradients_are_float32():
    layer, x = nn.Linear(6, 5), torch.randn(3, 6, requires_grad=True)
    weight, bias = layer.weight, layer.bias
    found = put(layer, IN_BF16)(x)
    assert found.dtype == BF16
    wanted = F.linear(x.bfloat16(), weight.bfloat16(), bias.bfloat16())
    assert torch.equal(found, wanted)
    found.float().square().sum().backward()
    assert layer.weight is weight
    assert weight.dtype == weight.grad.dtype == bias.grad.dtype == x.grad.dtype == FP32
    assert not torch.equal(found.float(), F.linear(x, weight, bias))


def test_results_may_come_in_another_dtype():
    layer, x = nn.Linear(6, 5), torch.randn(3, 6)
    wide = Computed(inputs="bfloat16", parameters="bfloat16", gives="bfloat16", outputs="float32")
    assert torch.equal(put(layer, wide)(x), put(layer, IN_BF16)(x).float())


def test_a_norm_takes_its_statistics_in_the_dtype_of_its_input():
    norm, x = nn.LayerNorm(6), torch.randn(3, 6)
    nn.init.normal_(norm.weight)
    found = put(norm, NORM)(x)
    assert torch.equal(found, F.layer_norm(x, (6,), norm.weight, norm.bias).bfloat16())


def test_a_norm_keeps_no_copy_of_a_wide_stream():
    norm, x = put(nn.LayerNorm(6), NORM), torch.randn(3, 6, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        norm(x)
    assert [t.data_ptr() for t in kept if t.shape == x.shape] == [x.data_ptr()]


@pytest.mark.parametrize(
    "module",
    [
        nn.Linear(6, 6),
        nn.Linear(6, 6, bias=False),
        nn.RMSNorm(6),
        nn.GroupNorm(3, 6),
        nn.Conv1d(6, 6, 1),
        nn.PReLU(),
        nn.Identity(),
    ],
    ids=str,
)
def test_any_module_reads_casts_of_its_own_parameters(module):
    for p in module.parameters():
        nn.init.normal_(p)
    x = torch.randn(4, 6, 6)
    wanted = copy.deepcopy(module).bfloat16()(x.bfloat16())
    use = Computed(inputs="bfloat16", parameters="bfloat16", gives="bfloat16")
    assert torch.equal(put(module, use)(x), wanted)
    assert all(p.dtype == FP32 for p in module.parameters())
    assert torch.equal(put(module, Computed(parameters="inputs"))(x.bfloat16()), wanted)


def test_walks_read_casts_and_their_gradients_reach_the_masters():
    module, x = Scaled(), torch.randn(5, 6)
    use = Computed(inputs="bfloat16", parameters="bfloat16", gives="bfloat16")
    put(module, use)(x).float().square().sum().backward()
    assert set(module.seen) == {BF16}
    found, module.scale.grad = module.scale.grad, None
    (x.bfloat16() * module.scale.bfloat16()).float().square().sum().backward()
    assert found.dtype == FP32
    torch.testing.assert_close(found, module.scale.grad, rtol=2**-7, atol=2**-7)


def test_arguments_are_cast_wherever_they_are():
    seen = {}

    class Takes(nn.Module):
        def forward(self, x, *rest, **named):
            seen.update(x=x, rest=rest, named=named)
            return {"x": x, "index": rest[0], "none": None}

    x, index = torch.randn(2), torch.arange(2)
    module = put(Takes(), Computed(inputs="bfloat16", gives="bfloat16", outputs="float32"))
    found = module(x, index, [x, (x, None)], more={"x": x, "text": "x"})
    assert found["x"].dtype == FP32
    assert found["index"].dtype == torch.int64
    assert found["none"] is None
    assert seen["x"].dtype == BF16
    assert seen["rest"][0] is index
    assert seen["rest"][1][0].dtype == seen["rest"][1][1][0].dtype == BF16
    assert seen["named"]["more"]["x"].dtype == BF16
    assert seen["named"]["more"]["text"] == "x"


def test_a_result_in_another_dtype_is_an_error_that_names_the_module():
    class Stubborn(nn.Linear):
        def forward(self, input):
            return super().forward(input).float()

    model = nn.Sequential(nn.Linear(6, 6), Stubborn(6, 6))
    put(model, IN_BF16, "1")
    with pytest.raises(PrecisionError, match="mend: let its forward keep the dtype") as caught:
        model(torch.randn(2, 6))
    assert "'1', a Stubborn, returns torch.float32" in str(caught.value)
    assert all(p.dtype == FP32 for p in model.parameters())
    put(model, Computed(inputs="bfloat16", parameters="bfloat16"), "1")
    assert model(torch.randn(2, 6)).dtype == FP32


def test_the_masters_are_back_after_an_error():
    conv = nn.Conv1d(6, 6, 1)
    weight = conv.weight
    put(conv, IN_BF16)
    with pytest.raises(RuntimeError):
        conv(torch.randn(2, 5, 4))
    assert conv.weight is weight


def test_autocast_around_does_not_overrule_it():
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6))
    put(model, Computed(inputs="float32", parameters="float32", gives="float32"), "1")
    with torch.autocast("cpu", BF16):
        dtypes = [layer(torch.randn(2, 6)).dtype for layer in model]
    assert dtypes == [BF16, FP32, BF16]


@pytest.mark.parametrize("use", [recomputed(), sliced(2, {"x": -2}), sliced(2, {0: -2})])
def test_it_acts_inside_of_what_the_forward_is_run_by(use):
    class Layers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.randn(6))
            self.inner = nn.Linear(6, 6)

        def forward(self, x):
            return self.inner(x * self.scale)

    model = Layers()
    rules = (
        Rule(where="", seam="precision", use=Computed(inputs="bfloat16", parameters="bfloat16")),
        Rule(where="inner", seam="precision", use=IN_BF16),
    )
    grads = []
    x = torch.randn(5, 6)
    for more in ((), (Rule(where="", seam="forward", use=use),)):
        model.zero_grad()
        found = apply(model, Plan(rules=(*rules, *more)))(x)
        assert found.dtype == BF16
        found.float().square().sum().backward()
        grads.append([p.grad for p in model.parameters()])
    assert all(g.dtype == FP32 for g in grads[1])
    torch.testing.assert_close(grads[1], grads[0], rtol=2**-6, atol=2**-6)


def test_segments_of_casting_steps():
    class Step(nn.Linear):
        def forward(self, x):
            return (x + super().forward(x).tanh(),)

    steps = nn.ModuleList(Step(6, 6) for _ in range(4))
    model = nn.ModuleDict({"steps": steps})
    use = Computed(parameters="inputs")
    apply(model, Plan(rules=(Rule(where="steps.*", seam="precision", use=use),)))
    grads = []
    for iterate in (in_segments(4), in_segments(1), in_segments(3)):
        model.zero_grad()
        iterate(list(steps), (torch.ones(2, 6, dtype=BF16),))[-1][0].float().sum().backward()
        grads.append([p.grad for p in model.parameters()])
    assert all(
        torch.equal(a, b) for other in grads[1:] for a, b in zip(grads[0], other, strict=True)
    )


def test_copies_restored_models_and_description():
    model = nn.Sequential(nn.Linear(6, 6), nn.LayerNorm(6))
    put(model, IN_BF16, "0")
    assert describe(model) == {"0": {"precision": IN_BF16}}
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert describe(other) == describe(model)
        assert other(torch.randn(2, 6)).dtype == BF16
    assert list(model.state_dict()) == list(nn.Sequential(*model).state_dict())
    assert describe(restore(model)) == {}
    assert all("forward" not in vars(part) for part in model.modules())


def test_both_seams_of_a_forward_are_told_apart():
    rules = (
        Rule(where="0", seam="forward", use=recomputed()),
        Rule(where="0", seam="precision", use=IN_BF16),
    )
    model = apply(nn.Sequential(nn.Linear(6, 6)), Plan(rules=rules))
    assert describe(model) == {"0": {"forward": recomputed(), "precision": IN_BF16}}
    with pytest.raises(BadPlanError, match="mend: put it on the seam 'precision'"):
        Rule(where="0", seam="forward", use=IN_BF16)
    with pytest.raises(BadPlanError, match="mend: put it on the seam 'forward'"):
        Rule(where="0", seam="precision", use=recomputed())
