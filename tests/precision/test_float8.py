"""Linear layers in FP8: near the plain ones, on the same parameters, sliced and recomputed too."""

from __future__ import annotations

import copy
import pickle
import sys
from importlib import import_module

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from sci_memeff import Plan, Rule, apply, describe, restore, simulate
from sci_memeff._forward import put_forward
from sci_memeff._types import Forward, plainly
from sci_memeff.alphafold.linear import Linear
from sci_memeff.checkpointing import recomputed
from sci_memeff.chunking import sliced
from sci_memeff.errors import BadConfigError, MissingPackageError, PrecisionError
from sci_memeff.measure import measure
from sci_memeff.precision.casts import Computed
from sci_memeff.precision.float8 import Float8, float8

SCALINGS = ["tensorwise", "rowwise", "rowwise_with_gw_hp"]
EPS = 2.0**-4  # e4m3 has three bits after the leading one; e5m2, of tensorwise gradients, two
BF16, FP32 = torch.bfloat16, torch.float32


class Block(nn.Module):
    """A residual transition, as AlphaFold has them."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.wide = nn.Linear(width, 2 * width)
        self.narrow = nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.narrow(torch.relu(self.wide(self.norm(x))))


NORM = Rule(where="*norm", seam="precision", use=Computed(parameters="inputs", outputs="bfloat16"))


def in_fp8(use: Forward, *more: Rule) -> Plan:
    layers = [Rule(where=where, seam="precision", use=use) for where in ("*wide", "*narrow")]
    return Plan(rules=(NORM, *layers, *more))


def put(layer: nn.Module, use: Forward) -> nn.Module:
    return apply(layer, Plan(rules=(Rule(where="", seam="precision", use=use),)))


def gradients(model: nn.Module, x: Tensor) -> list[Tensor]:
    """The output, then the gradients of input and parameters, of a loss that weighs elements."""
    model.zero_grad(set_to_none=True)
    x = x.clone().requires_grad_()
    found = model(x)
    weights = torch.linspace(-1, 1, found.numel()).view(found.shape)
    (found.float() * weights).sum().backward()
    return [found.detach(), *(p.grad for p in (x, *model.parameters()))]


def cosine(a: Tensor, b: Tensor) -> float:
    return F.cosine_similarity(a.double().flatten(), b.double().flatten(), dim=0).item()


def worst(found: list[Tensor], wanted: list[Tensor]) -> float:
    return max(
        ((a.double() - b.double()).norm() / b.double().norm()).item()
        for a, b in zip(found, wanted, strict=True)
    )


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("emulate", [None, True])
@pytest.mark.parametrize("scaling", SCALINGS)
def test_it_is_a_linear_layer_but_for_rounding(scaling, emulate):
    layer, x = nn.Linear(128, 256), torch.randn(3, 7, 128)
    wanted = gradients(layer, x)
    found = gradients(put(layer, float8(scaling, emulate=emulate)), x)
    assert found[0].dtype == BF16
    assert [g.dtype for g in found[1:]] == [FP32] * 3
    for ours, plain in zip(found, wanted, strict=True):
        assert ours.shape == plain.shape
        # half of EPS is the most that one of two operands is off, and twice that in e5m2
        assert (ours - plain).norm() < (2 if scaling == "tensorwise" else 1) * EPS * plain.norm()
        assert cosine(ours, plain) > 0.996
    assert worst(found, wanted) > EPS / 16  # it is not bf16
    with_gw_hp = scaling == "rowwise_with_gw_hp"
    assert ((found[2] - wanted[2]).norm() < EPS / 16 * wanted[2].norm()) == with_gw_hp


@pytest.mark.parametrize("scaling", SCALINGS)
def test_emulation_rounds_as_the_product_does(scaling):
    layer, x = nn.Linear(128, 64), torch.randn(32, 128)
    found, emulated = (
        gradients(put(layer, float8(scaling, emulate=emulate)), x) for emulate in (False, True)
    )
    assert worst(found, emulated) < 2**-8


def test_it_reads_the_same_parameters_and_leaves_no_trace():
    layer = Linear(128, 128)
    weight, state = layer.weight, copy.deepcopy(layer.state_dict())
    put(layer, float8())(torch.randn(4, 128))
    assert layer.weight is weight
    assert weight.dtype == FP32
    assert type(layer) is Linear
    assert describe(layer) == {"": {"precision": Float8()}}
    assert all(torch.equal(layer.state_dict()[k], v) for k, v in state.items())
    assert describe(restore(layer)) == {}


def test_rows_of_other_magnitudes_do_not_drown_small_ones():
    """As in pair activations: one scale for all has no number left for the small row."""
    layer, x = nn.Linear(128, 128, bias=False), torch.randn(16, 128)
    x[1] *= 2.0**-20
    wanted = layer(x)
    for scaling, survives in (("tensorwise", False), ("rowwise", True)):
        found = put(layer, float8(scaling))(x)
        assert ((found[1] - wanted[1]).norm() < EPS * wanted[1].norm()) == survives


@pytest.mark.parametrize("size", [1, 5, 13])
def test_a_walk_gives_what_the_whole_does(size):
    block, x = Block(), torch.randn(13, 128)
    whole = gradients(apply(block, in_fp8(float8())), x)
    walk = Rule(where="", seam="forward", use=sliced(size, in_dims={"x": -2}))
    walked = gradients(apply(block, in_fp8(float8(), walk)), x)
    assert torch.equal(walked[0], whole[0])
    assert torch.equal(walked[1], whole[1])
    # gradients of weights are sums of each slice's, rounded to bf16
    assert worst(walked, whole) < worst(whole, gradients(restore(block), x)) / 4


def test_one_scale_for_a_tensor_depends_on_the_slices():
    block, x = Block(), torch.randn(13, 128) * torch.logspace(-1, 1, 13)[:, None]
    whole = gradients(apply(block, in_fp8(float8("tensorwise"))), x)
    walk = Rule(where="", seam="forward", use=sliced(5, in_dims={"x": -2}))
    walked = gradients(apply(block, in_fp8(float8("tensorwise"), walk)), x)
    assert not torch.equal(walked[0], whole[0])
    assert worst(walked, whole) < 4 * EPS


@pytest.mark.parametrize("scaling", SCALINGS)
def test_recomputed_it_is_the_same_to_the_bit(scaling):
    block, x = Block(), torch.randn(16, 128)
    whole = gradients(apply(block, in_fp8(float8(scaling))), x)
    again = Rule(where="", seam="forward", use=recomputed())
    found = gradients(apply(block, in_fp8(float8(scaling), again)), x)
    assert all(torch.equal(a, b) for a, b in zip(found, whole, strict=True))


@pytest.mark.parametrize("rows", [16, 13])
@pytest.mark.parametrize("scaling", SCALINGS)
def test_simulated_bytes_and_flops_are_the_real_ones(scaling, rows):
    block, x = apply(Block(), in_fp8(float8(scaling))), torch.randn(rows, 128)
    simulated = simulate(block, lambda model, x: model(x).sum(), x)
    with measure(block) as real:
        block(x).sum().backward()
    assert (simulated.peak, simulated.flops) == (real.peak, real.flops)
    restore(block).zero_grad(set_to_none=True)
    with measure(block) as plain:
        block(x).sum().backward()
    padded = 2 * 3 * 128 * 256 * 2 if rows == 13 and scaling != "rowwise_with_gw_hp" else 0
    assert real.flops == plain.flops + padded  # three rows of zeros, in the weights' gradients


def test_what_it_keeps_is_bfloat16():
    layer, x = put(nn.Linear(128, 256), float8()), torch.randn(64, 128)
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        layer(x)
    assert {t.dtype for t in kept} == {BF16}
    assert sum(t.nbytes for t in kept) == 2 * (64 * 128 + 128 * 256)


def test_inputs_of_any_strides_and_of_no_rows():
    layer = put(nn.Linear(128, 32), float8())
    x = torch.randn(128, 6, 5).permute(1, 2, 0)
    assert torch.equal(layer(x), layer(x.contiguous()))
    assert torch.equal(layer(x[0, 0]), layer(x)[0, 0])
    empty = torch.randn(0, 5, 128, requires_grad=True)
    found = layer(empty)
    assert found.shape == (0, 5, 32)
    found.sum().backward()
    assert empty.grad is not None


def test_autocast_changes_nothing():
    layer, x = put(nn.Linear(128, 32), float8()), torch.randn(4, 128)
    wanted = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(input=x), wanted)


def test_it_is_a_value():
    use = float8("rowwise", emulate=True)
    assert use == Float8("rowwise", True)
    assert use != float8("rowwise")
    assert hash(use) == hash(Float8("rowwise", True))
    assert pickle.loads(pickle.dumps(use)) == use
    assert str(use) == "FP8 rowwise, emulated"
    assert str(float8()) == "FP8 rowwise_with_gw_hp, emulated on GPUs without FP8 units"
    layer, x = put(nn.Linear(128, 32), use), torch.randn(4, 128)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert other.weight is not layer.weight
        assert torch.equal(other(x), layer(x))
    plan = Plan(rules=(Rule(where="*", seam="precision", use=use),))
    assert Plan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize(
    ("kind", "capability", "emulates"),
    [("cpu", None, False), ("cuda", (8, 0), True), ("cuda", (8, 9), False), ("mps", None, True)],
)
def test_where_it_emulates(kind, capability, emulates, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    device = torch.device(kind)
    assert Float8().emulates(device) == emulates
    assert Float8(emulate=True).emulates(device)
    assert emulates or not Float8(emulate=False).emulates(device)


def test_no_other_scaling():
    with pytest.raises(BadConfigError, match=r"'delayed'\n  mend: use one of tensorwise, rowwise"):
        float8("delayed")


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (nn.Linear(128, 8), "128 → 8, is no multiple of 16"),
        (nn.Linear(23, 128), "23 → 128, is no multiple of 16"),
        (nn.LayerNorm(128), "it is a LayerNorm, and no nn.Linear"),
    ],
)
def test_a_layer_that_cannot_be_is_named(layer, why):
    model = nn.ModuleDict({"good": nn.Linear(128, 128), "layers": nn.ModuleList([layer])})
    message = rf"'layers.0', a {type(layer).__name__}, cannot be .*{why}\n  mend: leave it to bf16"
    plan = Plan(
        rules=tuple(
            Rule(where=where, seam="precision", use=float8()) for where in ("good", "layers.0")
        )
    )
    with pytest.raises(PrecisionError, match=message):
        apply(model, plan)
    assert describe(model) == {}
    put_forward(layer, plainly, float8(), "layers.0")
    with pytest.raises(PrecisionError, match=message):
        layer(torch.randn(4, getattr(layer, "in_features", 128)))


def test_a_device_that_cannot_multiply_is_told():
    with pytest.raises(PrecisionError, match=r"mps has no product .*\n  mend: let it be emulated"):
        Float8(emulate=False).emulates(torch.device("mps"))


def test_a_forward_that_somebody_put_there_is_not_passed_over():
    layer = nn.Linear(128, 128)
    layer.forward = lambda input: input
    with pytest.raises(PrecisionError, match="somebody has put another forward on it"):
        put(layer, float8())(torch.randn(4, 128))


def test_torchao_is_asked_for_by_its_extra(monkeypatch):
    module = import_module("sci_memeff.precision.float8")  # not the function of that name
    module._torchao.cache_clear()
    monkeypatch.setitem(sys.modules, "torchao.float8", None)
    monkeypatch.setitem(sys.modules, "torchao", None)
    message = r"computed by torchao\n  mend: pip install 'sci-memeff\[precision\]'"
    with pytest.raises(MissingPackageError, match=message):
        float8()
    module._products.cache_clear()
    use, layer = Float8("rowwise", True), nn.Linear(128, 128)
    with pytest.raises(MissingPackageError, match=message):
        put(layer, use)
    with pytest.raises(MissingPackageError, match=message):
        use(layer.forward, (torch.randn(4, 128),), {})
    with pytest.raises(MissingPackageError, match=message):
        apply(layer, Plan(recipe="fp8"))
