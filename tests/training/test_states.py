"""Adam with its average against torch's Adam and torch's average, and its bytes."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import sci_memeff
from sci_memeff import Plan, Rule, apply
from sci_memeff._types import in_turn, whole
from sci_memeff.alphafold.model import AlphaFold
from sci_memeff.checkpointing import in_segments
from sci_memeff.chunking import in_slices
from sci_memeff.training import states
from sci_memeff.training.config import OptimizerConfig
from sci_memeff.training.optimizer import ClippedMean
from sci_memeff.training.states import AdamWithAverage
from tests.alphafold.networks import SMALL, random_batch, redrawn

CONFIG = OptimizerConfig(learning_rate=1e-2, ema_decay=0.9)


class Net(nn.Module):
    """Several shapes, one parameter frozen, one that no loss uses."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(7, 13), nn.Linear(13, 5)
        self.frozen = nn.Parameter(torch.randn(5), requires_grad=False)
        self.unused = nn.Parameter(torch.randn(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.two(torch.tanh(self.one(x))) * self.frozen


def net(dtype: torch.dtype = torch.float32) -> Net:
    torch.manual_seed(2)
    return Net().to(dtype)


def backward(model: nn.Module, seed: int) -> None:
    p = next(model.parameters())
    x = torch.randn(4, 7, generator=torch.Generator().manual_seed(seed))
    model(x.to(p.dtype)).float().square().sum().backward()


class Plain:
    """torch's Adam, then torch's averaged model: two copies of everything, two passes."""

    def __init__(self, model: nn.Module, config: OptimizerConfig, *, fused: bool) -> None:
        self.model = model
        self.adam = torch.optim.Adam(
            [p for p in model.parameters() if p.requires_grad],
            lr=config.learning_rate,
            betas=(config.beta1, config.beta2),
            eps=config.eps,
            fused=fused,
        )
        self.average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay))
        self.average.n_averaged.fill_(1)

    def step(self) -> None:
        self.adam.step()
        self.adam.zero_grad()
        self.average.update_parameters(self.model)


def followed(bucket: int, *, fused: bool, dtype: torch.dtype) -> tuple[AdamWithAverage, Plain]:
    """Six updates of both; in every third, half of the parameters have no gradient."""
    model = net(dtype)
    plain = Plain(copy.deepcopy(model), CONFIG, fused=fused)
    ours = AdamWithAverage(model, CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(states, "BUCKET", bucket)
        for update in range(6):
            for one, optimizer in ((model, ours), (plain.model, plain)):
                backward(one, update)
                if update % 3 == 1:
                    one.get_submodule("two").zero_grad()
                optimizer.step()
    return ours, plain


def pairs(ours: AdamWithAverage, plain: Plain):
    """(ours, torch's) of every parameter and every state."""
    mine = [p for group in ours.param_groups for p in group["params"]]
    averages = dict(plain.average.module.named_parameters())
    theirs = [(n, p) for n, p in plain.model.named_parameters() if p.requires_grad]
    for p, (name, q) in zip(mine, theirs, strict=True):
        yield p.detach(), q.detach()
        yield ours.average(p), averages[name].detach()
        assert (p in ours.state) == (q in plain.adam.state) == (name != "unused")
        for key, value in plain.adam.state.get(q, {}).items():
            yield ours.state[p][key], value


@pytest.mark.parametrize("bucket", [1, 100, 1 << 20])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_bits_are_those_of_torch_s_fused_adam_and_average(bucket, dtype):
    found = list(pairs(*followed(bucket, fused=True, dtype=dtype)))
    assert len(found) == 5 * 2 + 4 * 3
    assert all(torch.equal(one, other) for one, other in found)


def test_the_numbers_are_those_of_torch_s_plain_adam():
    for one, other in pairs(*followed(100, fused=False, dtype=torch.float32)):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)
    for one, other in pairs(*followed(100, fused=False, dtype=torch.float64)):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


def test_it_has_the_published_numbers():
    group = AdamWithAverage(net(), OptimizerConfig()).param_groups[0]
    assert (group["betas"], group["eps"], group["ema_decay"]) == ((0.9, 0.999), 1e-6, 0.999)
    assert len(group["params"]) == 5  # not the frozen one


def test_gradient_of_another_layout_is_read_by_its_indices():
    results = []
    for turned in (False, True):
        model = nn.Linear(6, 4, bias=False)
        nn.init.ones_(model.weight)
        gradient = torch.arange(24.0).view(4, 6) - 7
        model.weight.grad = gradient.t().contiguous().t() if turned else gradient
        AdamWithAverage(model, CONFIG).step()
        results.append(model.weight.detach())
    assert torch.equal(*results)


def test_states_follow_a_parameter_that_changes_its_layout():
    results = []
    for turned in (False, True):
        torch.manual_seed(0)
        model = nn.Linear(7, 5, bias=False)
        optimizer = AdamWithAverage(model, CONFIG)
        backward(model, 0)
        optimizer.step()
        if turned:
            model.weight.data = model.weight.data.t().contiguous().t()
        backward(model, 1)
        optimizer.step()
        results.append([model.weight.detach(), optimizer.average(model.weight)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


def test_averages_change_places_with_the_weights_and_back():
    model = net()
    optimizer = AdamWithAverage(model, CONFIG)
    with optimizer.averaged():  # before the first update they are the same
        assert all(torch.equal(optimizer.average(p), p) for p in model.parameters())
    backward(model, 0)
    optimizer.step()
    before = [(p.data_ptr(), p.detach().clone()) for p in model.parameters()]
    averages = [optimizer.average(p).clone() for p in model.parameters()]
    with optimizer.averaged():
        for p, average in zip(model.parameters(), averages, strict=True):
            assert torch.equal(p, average)
    with pytest.raises(KeyError), optimizer.averaged():
        raise KeyError
    for p, (place, value) in zip(model.parameters(), before, strict=True):
        assert p.data_ptr() == place
        assert torch.equal(p, value)
    assert not torch.equal(model.one.weight, averages[0])


def test_states_are_copied_when_they_are_loaded():
    one, two = net(), net()
    ours, other = AdamWithAverage(one, CONFIG), AdamWithAverage(two, CONFIG)
    backward(one, 0)
    ours.step()
    two.load_state_dict(one.state_dict())
    other.load_state_dict(ours.state_dict())
    for update in (1, 2):
        for model, optimizer in ((one, ours), (two, other)):
            backward(model, update)
            optimizer.step()
    for p, q in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(p, q)
        assert torch.equal(ours.average(p), other.average(q))


def test_a_closure_is_called_with_gradients_on():
    model = net()
    optimizer = AdamWithAverage(model, CONFIG)

    def closure():
        backward(model, 0)
        return 3.0

    before = model.one.weight.detach().clone()
    assert optimizer.step(closure) == 3.0
    assert not torch.equal(model.one.weight, before)


# half precision


def test_half_precision_follows_float32_weights_given_the_same_gradients():
    half = net(torch.bfloat16)
    full = net(torch.bfloat16).float()  # the same start
    ours, wanted = AdamWithAverage(half, CONFIG), AdamWithAverage(full, CONFIG)
    for update in range(20):
        backward(half, update)
        for p, q in zip(half.parameters(), full.parameters(), strict=True):
            q.grad = None if p.grad is None else p.grad.float()
        ours.step()
        wanted.step()
    for p, q in zip(half.parameters(), full.parameters(), strict=True):
        assert torch.equal(p, q.to(torch.bfloat16))
        assert torch.equal(ours.average(p).float(), wanted.average(q))
        if q in wanted.state:
            assert torch.equal(ours.state[p]["master"], q)
            for key, value in wanted.state[q].items():
                assert torch.equal(ours.state[p][key], value)
                assert ours.state[p][key].dtype == torch.float32


def test_states_of_half_precision_are_loaded_in_float32():
    one, two = net(torch.bfloat16), net(torch.bfloat16)
    ours, other = AdamWithAverage(one, CONFIG), AdamWithAverage(two, CONFIG)
    for update in range(3):
        backward(one, update)
        ours.step()
    other.load_state_dict(ours.state_dict())
    for p, q in zip(one.parameters(), two.parameters(), strict=True):
        for key, value in ours.state.get(p, {}).items():
            assert value.dtype == other.state[q][key].dtype == torch.float32
            assert torch.equal(value, other.state[q][key])


def test_averages_of_half_precision_are_rounded_for_evaluation():
    model = net(torch.bfloat16)
    optimizer = AdamWithAverage(model, CONFIG)
    backward(model, 0)
    optimizer.step()
    average = optimizer.average(model.one.weight)
    with optimizer.averaged():
        assert torch.equal(model.one.weight, average.bfloat16())
    assert average.dtype == torch.float32


# gradients that are released inside the backward pass

RELEASED = OptimizerConfig(
    learning_rate=1e-2, ema_decay=0.9, clip_norm=None, batch_size=1, release_gradients=True
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_released_gradients_give_the_same_bits(dtype):
    held, released = net(dtype), net(dtype)
    ours, other = AdamWithAverage(held, CONFIG), AdamWithAverage(released, RELEASED)
    for update in range(6):
        for model, optimizer in ((held, ours), (released, other)):
            model.two.requires_grad_(update % 3 != 1)
            before = {n: p.detach().clone() for n, p in model.named_parameters()}
            backward(model, update)
            if model is released:
                assert all(p.grad is None for p in model.parameters())
                assert not torch.equal(model.one.weight, before["one.weight"])
            optimizer.step()
    for p, q in zip(held.parameters(), released.parameters(), strict=True):
        assert torch.equal(p, q)
        assert torch.equal(ours.average(p), other.average(q))
        assert ours.state.get(p, {}).keys() == other.state.get(q, {}).keys()
        for key, value in ours.state.get(p, {}).items():
            assert torch.equal(value, other.state[q][key])
    assert other.state[released.two.weight]["step"] == 4
    assert other.state[released.one.weight]["step"] == 6


def test_the_norm_of_released_gradients():
    held, released = net(), net()
    optimizer = AdamWithAverage(released, RELEASED)
    for update in range(2):
        backward(held, update)
        norm = nn.utils.get_total_norm([p.grad for p in held.parameters() if p.grad is not None])
        backward(released, update)
        assert optimizer.released_norm() == pytest.approx(float(norm), rel=1e-6)
        assert optimizer.released_norm() == 0.0  # it is told once
        held.zero_grad()
        released.load_state_dict(held.state_dict())


def test_what_comes_after_a_gradient_that_is_not_finite_is_not_updated():
    torch.manual_seed(0)
    model = nn.Sequential(*[nn.Linear(4, 4) for _ in range(4)])
    optimizer = AdamWithAverage(model, RELEASED)
    model(torch.randn(2, 4)).sum().backward()
    optimizer.step()
    before = [p.detach().clone() for p in model.parameters()]
    counts = [float(optimizer.state[p]["step"]) for p in model.parameters()]
    spoil = model[2].register_full_backward_hook(lambda *_: (torch.full((2, 4), float("nan")),))
    model(torch.randn(2, 4)).sum().backward()
    spoil.remove()
    assert not math.isfinite(optimizer.released_norm())
    changed = [not torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True)]
    assert changed == [False] * 4 + [True] * 4  # weight and bias of four layers
    grown = [float(optimizer.state[p]["step"]) for p in model.parameters()]
    assert [new - old for new, old in zip(grown, counts, strict=True)] == [0] * 4 + [1] * 4
    assert all(p.grad is None for p in model.parameters())
    model(torch.randn(2, 4)).sum().backward()  # and the next update is one again
    optimizer.step()
    assert math.isfinite(optimizer.released_norm())
    for p, old in zip(model.parameters(), before, strict=True):
        assert p.isfinite().all()
        assert all(value.isfinite().all() for value in optimizer.state[p].values())
        assert not torch.equal(p, old)


@pytest.mark.parametrize(
    "walk",
    [whole, in_slices(3), in_slices(3, recompute_shared=True)],
    ids=["whole", "in slices", "shared operands made again"],
)
@pytest.mark.parametrize(
    "iterate",
    [in_turn, in_segments(2, inner=in_segments(1)), in_segments(2, spare="matmul")],
    ids=["in turn", "in two levels", "but products"],
)
def test_shared_and_recomputed_parameters_are_updated_once(walk, iterate):
    """AlphaFold: iterations that share weights, recycling, dropout, recomputation."""
    plan = Plan(
        rules=(
            Rule(where="*", seam="walk", use=walk),
            Rule(where="*", seam="iterate", use=iterate),
        )
    )
    shape = replace(SMALL, num_evoformer_blocks=3, num_extra_msa_blocks=2)
    batch = random_batch(2, 7, passes=2)
    results = []
    for config in (CONFIG, RELEASED):
        model = apply(redrawn(AlphaFold(shape)).train(), plan)
        optimizer = AdamWithAverage(model, config)
        for update in (1, 2):
            torch.manual_seed(update)
            out = model(batch)
            out |= {f"sm.{name}": x for name, x in out.pop("sm").items()}
            sum(x.square().mean() for x in out.values() if x.requires_grad).backward()
            optimizer.step()
            assert all(optimizer.state[p]["step"] == update for p in model.parameters())
        results.append([x for p in model.parameters() for x in (p, optimizer.average(p))])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


# bytes


def stack() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(*[nn.Linear(64, 64) for _ in range(32)])


def loss_of(model: nn.Module, x: Tensor) -> Tensor:
    return model(x).float().square().mean()


@pytest.mark.parametrize(
    ("dtype", "at_rest", "in_all", "bucket"),
    [(torch.float32, 16, 20, 0), (torch.bfloat16, 18, 20, 4)],
)
@pytest.mark.parametrize("real", [True, False])
def test_bytes_per_parameter(monkeypatch, dtype, at_rest, in_all, bucket, real):
    """To the byte: nothing is made for an update but, in half precision, a bucket's gradients."""
    monkeypatch.setattr(states, "BUCKET", 64 * 64)
    model = stack().to(dtype)
    num = sum(p.numel() for p in model.parameters())
    counters = 4 * len(list(model.parameters()))
    x = torch.randn(1, 64, dtype=dtype)
    made = []

    def factory(model: nn.Module) -> AdamWithAverage:
        made.append(AdamWithAverage(model, CONFIG))
        return made[-1]

    if real:
        optimizer = factory(model)
        with sci_memeff.measure(model) as measured:
            for _ in range(3):
                loss_of(model, x).backward()
                optimizer.step()
    else:
        measured = sci_memeff.simulate(model, loss_of, x, optimizer=factory, updates=3)
    states_bytes = in_all * num + counters
    most = measured.by_phase["optimizer"].peak
    assert states_bytes <= most <= states_bytes + bucket * 64 * 64 + 2 * x.nbytes
    kinds = measured.by_kind
    element = torch.finfo(dtype).bits // 8
    assert kinds["optimizer"].highest == (at_rest - element) * num + counters
    assert kinds["gradients"].highest == element * num
    left = sum(v.nbytes for s in made[0].state.values() for v in s.values())
    assert left == (at_rest - element) * num + counters
    assert all(p.grad is None for p in made[0].param_groups[0]["params"])


@pytest.mark.parametrize(("samples", "per_parameter"), [(1, 20), (3, 24)])
def test_bytes_of_a_batch_of_clipped_gradients(samples, per_parameter):
    """From the second sample on there is a sum beside the gradient; both go with the update."""
    model = stack()
    num = sum(p.numel() for p in model.parameters())
    x = torch.randn(1, 64)
    optimizer = AdamWithAverage(model, CONFIG)
    with sci_memeff.measure(model) as measured:
        for _ in range(2):
            mean = ClippedMean(model.parameters(), 0.1)
            for _ in range(samples):
                loss_of(model, x).backward()
                mean.take()
            mean.put()
            optimizer.step()
    counters = 4 * len(list(model.parameters()))
    scalars = 100 * x.nbytes  # norms, and what the forward pass keeps
    assert scalars < num  # so that they hide no byte per parameter
    assert 0 <= measured.peak - per_parameter * num <= counters + scalars
    assert measured.by_phase["optimizer"].left <= 16 * num + counters + scalars


@pytest.mark.parametrize("real", [True, False])
def test_bytes_of_released_gradients(real):
    """Two parameters' gradients at a time, of 64."""
    model = stack()
    num = sum(p.numel() for p in model.parameters())
    counters = 4 * len(list(model.parameters()))
    largest = 4 * 64 * 64
    x = torch.randn(1, 64)
    if real:
        optimizer = AdamWithAverage(model, RELEASED)
        with sci_memeff.measure(model) as measured:
            for _ in range(3):
                loss_of(model, x).backward()
                optimizer.step()
    else:
        measured = sci_memeff.simulate(
            model, loss_of, x, optimizer=lambda m: AdamWithAverage(m, RELEASED), updates=3
        )
    kinds = measured.by_kind
    assert kinds["optimizer"].highest == 12 * num + counters
    assert kinds["gradients"].highest <= 2 * largest
    activations = 100 * x.nbytes
    assert activations < 2 * largest  # so that it hides no gradient
    assert 16 * num <= measured.peak <= 16 * num + counters + 2 * largest + activations


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("config", [CONFIG, RELEASED], ids=["held", "released"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_cuda_makes_the_update_of_the_cpu(dtype, config):
    here = net(dtype)
    there = copy.deepcopy(here).cuda()
    ours, theirs = AdamWithAverage(here, CONFIG), AdamWithAverage(there, config)
    for update in range(3):
        backward(here, update)
        gradients = [p.grad for p in here.parameters()]
        ours.step()
        given = zip(there.parameters(), gradients, strict=True)
        # the very gradients of the CPU, through the backward pass
        sum((p * g.cuda()).sum() for p, g in given if g is not None).backward()
        theirs.step()
    for p, q in zip(here.parameters(), there.parameters(), strict=True):
        torch.testing.assert_close(p, q.cpu())
        torch.testing.assert_close(ours.average(p), theirs.average(q).cpu())
        assert all(value.is_cuda for value in theirs.state.get(q, {}).values())
