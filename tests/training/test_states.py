"""Adam with its average against torch's Adam and torch's average."""

import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from sci_memeff.training import states
from sci_memeff.training.config import OptimizerConfig
from sci_memeff.training.states import AdamWithAverage

from .small_nets import CONFIG, RELEASED, backward, net


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
