import dataclasses
import resource
from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from sci_memeff.errors import CannotSimulateError
from sci_memeff.measure import measure, simulate

from .chains import MATRIX, SCALAR, Chain, matrix, step


@pytest.mark.parametrize("segment", [0, 2])
def test_it_equals_a_real_step(segment):
    model, x = Chain(6, segment, frozen=False), matrix()
    simulated = simulate(model, step, x)
    assert all(p.grad is None for p in model.parameters())
    with measure(model) as real:
        step(model, x).backward()
    assert simulated == real


def test_models_that_do_not_exist_yet():
    with torch.device("meta"):
        on_meta = Chain(3, frozen=False)
    x = matrix(requires_grad=False)
    expected = simulate(Chain(3, frozen=False), step, x)
    assert simulate(on_meta, step, x) == expected
    assert simulate(lambda: Chain(3, frozen=False), step, x) == expected
    assert simulate(on_meta, step, x, device="cpu") == expected
    assert expected.device == torch.device("cpu")


def test_a_step_far_beyond_this_machine_takes_no_memory():
    width = 2**17

    def build() -> nn.Module:
        return nn.Sequential(*(nn.Linear(width, width, bias=False) for _ in range(8)))

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    x = torch.empty(width, width, device="meta")
    simulated = simulate(build, step, x)
    assert simulated.by_kind["parameters"].highest == 8 * 4 * width**2 == 512 * 2**30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 2**20  # KiB


def test_tensors_that_share_a_storage_still_do():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(64, 64, bias=False)
            self.second = nn.Linear(64, 64, bias=False)
            self.second.weight = self.first.weight
            self.table = torch.ones(64, 64)  # neither parameter nor buffer

        def forward(self, batch):
            return self.second(self.first(batch["wide"])) @ self.table + batch["half"].sum()

    whole = torch.ones(8, 64)
    batch = {"wide": torch.ones(1, 64).expand(1000, 64), "half": whole[4:], "whole": whole}
    model = Tied()
    simulated = simulate(model, step, batch)
    with measure(model) as real:
        step(model, batch).backward()
    assert simulated == real
    assert simulated.by_kind["parameters"].highest == MATRIX
    assert simulated.by_kind["inputs"].highest == MATRIX + 4 * 64 + 4 * 8 * 64


@dataclasses.dataclass(frozen=True)
class Batch:
    x: torch.Tensor
    name: str


def test_batches_of_any_kind():
    seen = []

    def dataclass_step(model, batch):
        seen.append((type(batch.x), batch.name))
        return step(model, batch.x)

    simulated = simulate(Chain(2), dataclass_step, Batch(matrix(), "one"))
    assert seen == [(FakeTensor, "one")]
    assert simulated.peak_over == 3 * MATRIX + 2 * SCALAR


@pytest.mark.parametrize("updates", [1, 3])
def test_updates_with_an_optimizer(updates):
    def adam(model):
        return torch.optim.Adam(model.parameters())

    model, x = Chain(4, frozen=False), matrix(requires_grad=False)
    simulated = simulate(model, step, x, optimizer=adam, updates=updates)
    optimizer = adam(model)
    with measure(model) as real:
        for _ in range(updates):
            optimizer.zero_grad()
            step(model, x).backward()
            optimizer.step()
    assert simulated == real
    states = 8 * MATRIX + 4 * SCALAR
    assert simulated.by_kind["optimizer"].highest == states
    at_peak = states if updates > 1 else 0
    assert simulated.by_phase["backward"].peak == 11 * MATRIX + 2 * SCALAR + at_peak


def test_gradients_that_are_there_count():
    model, x = Chain(2, frozen=False), matrix(requires_grad=False)
    step(model, x).backward()
    simulated = simulate(model, step, x)
    with measure(model) as real:
        step(model, x).backward()
    assert simulated == real
    assert simulated.by_kind["gradients"].highest == 2 * MATRIX
    assert simulated.by_phase["forward"].peak == (2 + 1 + 2 + 3) * MATRIX


def test_inference_and_steps_that_go_backward_themselves():
    x = matrix(requires_grad=False)
    assert list(simulate(Chain(2), step, x).by_phase) == ["forward"]

    def whole(model, x):
        step(model, x).backward()

    model = Chain(2, frozen=False)
    assert simulate(model, whole, x).peak == simulate(model, step, x).peak


def needs_item(model, x):
    total = step(model, x)
    return total * total.item()


def needs_mask(model, x):
    return model(x)[x > 0].sum()


def needs_branch(model, x):
    total = step(model, x)
    return total if total > 0 else -total


@pytest.mark.parametrize("bad", [needs_item, needs_mask, needs_branch])
def test_steps_that_depend_on_values_are_refused(bad):
    with pytest.raises(CannotSimulateError, match=r"(?s)test_simulate.*mend: replace \.item\(\)"):
        simulate(Chain(1), bad, matrix())


@pytest.mark.skipif(torch.backends.cuda.is_built(), reason="this torch has CUDA")
def test_fake_cuda_needs_a_build_with_cuda():
    with pytest.raises(CannotSimulateError, match="leave `device` out"):
        simulate(Chain(1), step, matrix(), device="cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_simulated_gpu_equals_the_real_one():
    model, x = Chain(4, 2, frozen=False), matrix(requires_grad=False)
    simulated = simulate(model, step, x, device="cuda")
    model, x = model.cuda(), x.cuda()
    with measure(model) as real:
        step(model, x).backward()
    assert simulated.allocator is None
    assert (simulated.peak, simulated.by_tensor()) == (real.peak, real.by_tensor())


@cache
def remembered(length: int) -> Tensor:
    return torch.ones(length)


def test_functions_that_remember_results_remember_no_fake_ones():
    x = matrix()
    simulate(Chain(2, frozen=False), lambda model, x: step(model, x * remembered(1)), x)
    assert not isinstance(remembered(1), FakeTensor)
