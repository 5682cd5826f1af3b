"""Live bytes of whole steps: counted by hand, by torch's own allocator, and on fake tensors."""

import dataclasses

import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

import sci_memeff
from sci_memeff.measure import measure, simulate
from tests.alphafold.networks import SMALL

from .chains import MATRIX, PRODUCT, SCALAR, Chain, matrix, step


def allocator_peak(run) -> int:
    """Bytes above the beginning, from every malloc and free of the CPU allocator: no mode on."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        run()
    events = [e for e in profiled.profiler.kineto_results.events() if e.name() == "[memory]"]
    live = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak


@pytest.mark.parametrize("length", [1, 2, 8])
def test_a_chain_keeps_one_matrix_per_layer(length):
    model, x = Chain(length), matrix()
    with measure(model) as bytes_:
        step(model, x).backward()
    # every tanh, and in each layer's backward the gradient of it and one more
    assert bytes_.peak_over == (length + 1) * MATRIX + 2 * SCALAR
    assert bytes_.peak == (2 * length + 2) * MATRIX + 2 * SCALAR
    assert bytes_.flops == 2 * length * PRODUCT
    assert bytes_.recomputed_flops == 0


@pytest.mark.parametrize(("length", "segment"), [(8, 4), (9, 3), (12, 2), (4, 4)])
def test_a_checkpointed_chain_keeps_boundaries_and_one_segment(length, segment):
    model, x = Chain(length, segment), matrix()
    with measure(model) as bytes_:
        step(model, x).backward()
    boundaries = length // segment - 1
    assert bytes_.peak_over == (boundaries + segment + 1) * MATRIX + 2 * SCALAR
    assert bytes_.flops == 3 * length * PRODUCT
    assert bytes_.recomputed_flops == length * PRODUCT
    assert bytes_.by_phase["recompute"].flops == length * PRODUCT


def test_gradients_of_parameters_take_the_place_of_activations():
    model, x = Chain(8, frozen=False), matrix(requires_grad=False)
    with measure(model) as bytes_:
        step(model, x).backward()
    # 7 kept, the gradient of a tanh, of its weight and of its input
    assert bytes_.peak_over == 10 * MATRIX + 2 * SCALAR
    kinds = bytes_.by_kind
    assert kinds["parameters"].highest == kinds["gradients"].highest == 8 * MATRIX
    assert kinds["inputs"].highest == MATRIX
    assert kinds["saved"].at_peak == 7 * MATRIX + 2 * SCALAR
    assert sum(kind.at_peak for kind in kinds.values()) == bytes_.peak


@pytest.mark.parametrize("segment", [0, 2])
def test_the_allocator_counts_the_same(segment):
    model, x = Chain(6, segment, frozen=False), matrix(requires_grad=False)
    expected = allocator_peak(lambda: step(model, x).backward())
    model.zero_grad()
    with measure(model) as bytes_:
        step(model, x).backward()
    assert bytes_.peak_over == expected


ONE_OF_EACH = {"num_evoformer_blocks": 1, "num_structure_iterations": 1}


@pytest.fixture(scope="module")
def alphafold():
    """A small network, its whole loss, and a real protein."""
    config = sci_memeff.DataConfig(crop_size=12)
    data = sci_memeff.TrainingData(sci_memeff.DataFolder("data"), config)
    batch = {k: v[..., :1] for k, v in sci_memeff.make_batch([data[0]]).items() if v.ndim}
    loss = sci_memeff.AlphaFoldLoss(sci_memeff.LossConfig.finetuning())

    def step(model, batch):
        return loss(model(batch), {k: v[..., -1] for k, v in batch.items()})[0]

    return sci_memeff.AlphaFold(dataclasses.replace(SMALL, **ONE_OF_EACH)), step, batch


def adam(model):
    return torch.optim.Adam(model.parameters())


def test_a_simulated_training_step_is_the_real_one_to_the_byte(alphafold):
    model, step, batch = alphafold
    simulated = simulate(model, step, batch, optimizer=adam)
    optimizer = adam(model)
    with measure(model) as real:
        optimizer.zero_grad()
        step(model, batch).backward()
        optimizer.step()
    assert simulated == real  # every figure: peak, kinds, phases, modules, tensors, FLOPs
    parameters = sum(4 * p.numel() for p in model.parameters())
    assert real.by_kind["gradients"].highest <= parameters < real.peak
    assert real.by_kind["optimizer"].highest > 2 * real.by_kind["gradients"].highest
    one = next(group for group in simulated.by_tensor() if group.kind == "parameters")
    assert one.module in dict(model.named_modules())
    assert [name for name, _, _ in real._spans()] == ["forward", "backward", "optimizer"]
    assert list(real.by_phase) == ["forward", "backward", "optimizer"]
    assert {"evoformer", "structure_module", "(AlphaFoldLoss)"} <= set(real.by_module(1))


def test_the_allocator_counts_the_same_for_a_whole_network(alphafold):
    """Up to what a kernel holds inside itself, which no operation returns."""
    model, step, batch = alphafold
    model.zero_grad()
    step(model, batch).backward()  # tables that are made once
    model.zero_grad()
    expected = allocator_peak(lambda: step(model, batch).backward())
    model.zero_grad()
    with measure(model) as bytes_:
        step(model, batch).backward()
    assert expected == pytest.approx(bytes_.peak_over, rel=1e-3)


def test_flops_are_those_of_the_flop_counter(alphafold):
    model, step, batch = alphafold
    with FlopCounterMode(display=False) as counter:
        step(model, batch).backward()
    with measure(model) as bytes_:
        step(model, batch).backward()
    assert bytes_.flops == counter.get_total_flops() > 0
    by_module = bytes_.by_module()
    assert sum(module.flops for module in by_module.values()) == bytes_.flops
    whole = [phase for name, phase in bytes_.by_phase.items() if "/" not in name]
    assert sum(phase.flops for phase in whole) == bytes_.flops


def test_results_are_the_same_bits(alphafold):
    model, step, batch = alphafold
    model.eval()  # no dropout
    model.zero_grad()
    step(model, batch).backward()
    expected = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    with measure(model):
        step(model, batch).backward()
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_caching_allocator_holds_what_is_counted():
    model, x = Chain(6, 2, frozen=False).cuda(), matrix(requires_grad=False).cuda()
    step(model, x).backward()  # the workspaces of cuBLAS
    model.zero_grad()
    before = torch.cuda.memory_allocated()
    with measure(model) as bytes_:
        step(model, x).backward()
    given = bytes_.by_kind["parameters"].highest + bytes_.by_kind["inputs"].highest
    assert bytes_.device == torch.device("cuda:0")
    assert bytes_.allocator is not None
    assert bytes_.allocator.allocated - before == pytest.approx(bytes_.peak - given, abs=8192)
    assert 0 <= bytes_.allocator.fragmentation < 1
    assert bytes_.recomputed_flops == 6 * PRODUCT
    assert bytes_.by_module()["layers.0"].flops == 4 * PRODUCT  # forward, again, weight; no input
    assert "fragmentation" in str(bytes_)
    cpu = Chain(6, 2, frozen=False)
    with measure(cpu) as on_cpu:
        step(cpu, matrix(requires_grad=False)).backward()
    assert on_cpu.peak == bytes_.peak
