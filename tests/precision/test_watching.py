"""Ranges of FP8 layers while a model runs, and who made a NaN."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sci_memeff import Plan, Rule, apply, simulate
from sci_memeff.checkpointing import recomputed
from sci_memeff.chunking import sliced
from sci_memeff.errors import PrecisionError
from sci_memeff.precision import watching
from sci_memeff.precision.casts import Computed
from sci_memeff.precision.float8 import float8
from sci_memeff.precision.watching import watch_ranges

FP8 = Rule(where="*layer", seam="precision", use=float8())
MEND = r"\n  mend: look at what that module divides by"


class Block(nn.Module):
    """x + layer(norm(x)), with something that can go wrong on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(32)
        self.layer = nn.Linear(32, 32)
        self.root = Root()
        self.divisor = 1.0

    def forward(self, x: Tensor) -> Tensor:
        return x + self.root(self.layer(self.norm(x) / self.divisor))


class Root(nn.Module):
    """Of its input, and shifted so that nothing is lost at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.shift: float | None = None

    def forward(self, x: Tensor) -> Tensor:
        return x if self.shift is None else (x - x.detach() + self.shift).sqrt()


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    norms = Rule(where="*norm", seam="precision", use=Computed(outputs="bfloat16"))
    return apply(nn.Sequential(Block(), Block()), Plan(rules=(norms, FP8)))


def run(model: nn.Module, x: Tensor | None = None) -> None:
    model(torch.randn(5, 32) if x is None else x).square().sum().backward()


def watched(model: nn.Module, x: Tensor | None = None) -> None:
    with watch_ranges(model):
        run(model, x)


def test_magnitudes_are_those_of_what_is_multiplied(model):
    layer, seen = model[0].layer, []

    def see(_: nn.Module, inputs: tuple[Tensor], found: Tensor) -> None:
        seen.append(inputs[0])
        found.register_hook(seen.append)

    layer.register_forward_hook(see)
    with watch_ranges(model) as ranges:
        run(model)
    for kind, tensor in (("activation", seen[0]), ("weight", layer.weight), ("gradient", seen[1])):
        found = ranges.of("0.layer", kind)
        rows = tensor.detach().bfloat16().float().abs().amax(-1)
        assert found.calls == 1
        assert found.largest == found.smallest == rows.max().item()
        assert found.widest == pytest.approx((rows.max() / rows.min()).log2().item(), abs=1e-5)
    assert {layer for layer, _ in ranges.found} == {"0.layer", "1.layer"}


def test_rows_of_zeros_have_no_magnitude(model):
    with watch_ranges(model) as ranges, torch.no_grad():
        model[0].layer(torch.tensor([[0.0] * 32, [4.0] * 32, [1.0] * 32]))
        model[0].layer(torch.zeros(3, 32))
        model[0].layer(torch.zeros(0, 32))
    found = ranges.of("0.layer", "activation")
    assert (found.calls, found.smallest, found.largest, found.widest) == (2, 0.0, 4.0, 2.0)


def test_in_walks_and_recomputations_each_computation_is_logged(model):
    rules = (
        FP8,
        Rule(where="*norm", seam="precision", use=Computed(outputs="bfloat16")),
        Rule(where="0", seam="forward", use=sliced(2, in_dims={"x": -2})),
        Rule(where="1", seam="forward", use=recomputed()),
    )
    apply(model, Plan(rules=rules))
    with watch_ranges(model) as ranges:
        run(model)
    calls = {key: found.calls for key, found in ranges.found.items()}
    assert calls["0.layer", "activation"] == 3 + 3
    assert calls["0.layer", "gradient"] == 3
    assert calls["1.layer", "activation"] == 1  # the recomputation ends once it has been given it
    assert calls["1.layer", "weight"] == 1
    assert calls["1.layer", "gradient"] == 1


def test_nothing_is_logged_of_others_and_nothing_afterwards(model):
    other = apply(nn.ModuleDict({"layer": nn.Linear(32, 32)}), Plan(rules=(FP8,)))
    with watch_ranges(model) as ranges:
        other["layer"](torch.randn(2, 32))
    run(model)
    assert not ranges.found
    assert not watching._watching


def test_fake_tensors_are_passed_over(model):
    with watch_ranges(model) as ranges:
        simulate(model, lambda model, x: model(x).sum(), torch.randn(5, 32))
    assert not ranges.found


def test_answers_stay_as_they_are(model):
    x = torch.randn(5, 32)
    wanted = model(x)
    with watch_ranges(model):
        assert torch.equal(model(x), wanted)


def test_what_makes_a_nan_is_named(model):
    model[1].root.shift = -1.0
    message = rf"1\.root made a NaN of inputs that held none{MEND}"
    with pytest.raises(PrecisionError, match=message):
        watched(model)


def test_weights_that_hold_a_nan_are_named(model):
    with torch.no_grad():
        model[0].layer.weight[3, 4] = torch.nan
    with pytest.raises(PrecisionError, match=rf"0\.layer holds NaN in its weight{MEND}"):
        watched(model)


def test_arithmetic_between_modules_is_its_module_s(model):
    model[1].divisor = torch.nan
    message = rf"^1 gave 1\.layer a NaN that none of its modules had made{MEND}"
    with pytest.raises(PrecisionError, match=message):
        watched(model)


def test_a_nan_that_the_model_was_given(model):
    message = rf"the model gave 0 a NaN .* after the model itself had been given one{MEND}"
    with pytest.raises(PrecisionError, match=message):
        watched(model, torch.full((5, 32), torch.nan))


def test_a_nan_that_nobody_reads_is_none(model):
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, batch: dict[str, Tensor]) -> Tensor:
            return self.model(batch["x"])

    reader = Reader()
    with watch_ranges(reader) as ranges:
        reader({"x": torch.randn(5, 32), "labels": torch.full((5,), torch.nan)})
    assert ranges.found


def test_a_nan_of_the_backward_pass(model):
    model[1].root.shift = 0.0  # the root's slope is infinite there
    message = rf"backward pass, the first NaN came to the output of 1\.layer, from what .*{MEND}"

    def step() -> None:
        with watch_ranges(model):
            (model(torch.randn(5, 32)) * 0).sum().backward()

    with pytest.raises(PrecisionError, match=message):
        step()


def test_a_nan_is_found_during_a_long_run(model, monkeypatch):
    monkeypatch.setattr(watching, "MANY", 10)
    steps = []

    def train() -> None:
        with watch_ranges(model), torch.no_grad():
            for k in range(10):
                steps.append(k)
                model[0].root.shift = -1.0 if k == 2 else None
                model(torch.randn(5, 32))

    with pytest.raises(PrecisionError, match=r"0\.root made a NaN"):
        train()
    assert len(steps) in (3, 4)


def test_another_exception_is_not_hidden(model):
    model[0].root.shift = -1.0

    def step() -> None:
        with watch_ranges(model):
            run(model)
            raise KeyError

    with pytest.raises(KeyError):
        step()
    assert not watching._watching
