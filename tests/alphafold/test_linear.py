from __future__ import annotations

import math

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from sci_memeff.alphafold.linear import Linear
from sci_memeff.alphafold.model import AlphaFold

from .networks import SMALL

C_IN, C_OUT = 300, 500


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def weight(init) -> torch.Tensor:
    return Linear(C_IN, C_OUT, init=init).weight.detach()


@pytest.mark.parametrize(
    ("init", "variance"),
    [
        ("lecun", 1 / C_IN),
        ("relu", 2 / C_IN),
        ("normal", 1 / C_IN),
        ("glorot", 2 / (C_IN + C_OUT)),
        ("final", 0.0),
        ("gating", 0.0),
    ],
)
def test_mean_and_variance(init, variance):
    drawn = weight(init)
    # 150 000 draws: the mean is good to 3e-3 standard deviations, the variance to 0.4 %.
    assert drawn.mean().abs() <= 0.02 * math.sqrt(variance)
    assert drawn.var().item() == pytest.approx(variance, rel=0.02)


@pytest.mark.parametrize(("init", "variance"), [("lecun", 1 / C_IN), ("relu", 2 / C_IN)])
def test_cut_at_two_standard_deviations_of_the_uncut(init, variance):
    # The cut takes some of the spread away, which a wider normal makes up for.
    limit = 2 * math.sqrt(variance) / 0.8796256610342398
    largest = weight(init).abs().max().item()
    assert 0.99 * limit < largest <= 1.00001 * limit
    uncut = weight("normal")
    assert uncut.abs().max() > 3.5 * math.sqrt(1 / C_IN)


def test_glorot_is_uniform():
    drawn = weight("glorot")
    limit = math.sqrt(6 / (C_IN + C_OUT))
    assert 0.999 * limit < drawn.abs().max() <= limit
    assert (drawn.abs() < limit / 2).float().mean().item() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("init", ["lecun", "relu", "normal", "glorot", "final", "gating"])
def test_biases(init):
    layer = Linear(3, 4, init=init)
    assert torch.equal(layer.bias, torch.full((4,), 1.0 if init == "gating" else 0.0))
    assert Linear(3, 4, bias=False, init=init).bias is None


def test_drawn_from_the_seed_and_again():
    torch.manual_seed(1)
    first = Linear(5, 6)
    torch.manual_seed(1)
    second = Linear(5, 6)
    assert torch.equal(first.weight, second.weight)
    second.reset_parameters()
    assert not torch.equal(first.weight, second.weight)


def test_a_network_can_be_built_without_numbers():
    with torch.device("meta"):
        model = AlphaFold(SMALL)
    assert all(p.is_meta for p in model.parameters())
    with FakeTensorMode():
        model = AlphaFold(SMALL)
    assert {p.device.type for p in model.parameters()} == {"cpu"}


def starts(module: Linear) -> str:
    if module.weight.any():
        return "drawn"
    return "open gate" if module.bias.any() else "nothing"


def expected(name: str) -> str:
    layer = name.rpartition(".")[2]
    if layer in ("linear_g", "linear_a_g", "linear_b_g"):
        return "open gate"
    updates = (
        "mha.linear_o",
        "global_attention.linear_o",
        "tri_mul_out.linear_z",
        "tri_mul_in.linear_z",
        "transition.linear_2",
        "outer_product_mean.linear_out",
        "ipa.linear_out",
        "bb_update.linear",
        "transition.layers.0.linear_3",
    )
    angles = name.startswith("structure_module.angle_resnet.layers.") and layer == "linear_2"
    heads = name.startswith("aux_heads.") and layer in ("linear", "linear_3")
    return "nothing" if name.endswith(updates) or angles or heads else "drawn"


def test_updates_start_at_nothing_and_gates_open():
    """Suppl. 1.11.4."""
    layers = {
        name: module
        for name, module in AlphaFold(SMALL).named_modules()
        if isinstance(module, Linear)
    }
    assert {name: starts(layer) for name, layer in layers.items()} == {
        name: expected(name) for name in layers
    }
