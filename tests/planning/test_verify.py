"""Planned against plain: what is right passes, what is wrong is named, nothing is touched."""

import copy
import json
import random
from importlib import import_module

import numpy as np
import pytest
import torch
from torch import nn

from sci_memeff import Plan, Rule, apply, describe
from sci_memeff.checkpointing import recomputed
from sci_memeff.errors import BadConfigError, BadPlanError, VerificationError
from sci_memeff.planning.answers import _seeded
from sci_memeff.planning.guard import Guard
from sci_memeff.planning.verify import reference_dtype, verify

WIDTH = 8


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 32), nn.Linear(32, WIDTH)
        self.dropout = nn.Dropout(0.2)

    def forward(self, x):
        return x + self.dropout(self.down(torch.tanh(self.up(self.norm(x)))))


class Net(nn.Module):
    def __init__(self, depth: int = 3) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(Block() for _ in range(depth)))
        self.head = nn.Linear(WIDTH, 1)
        self.unused = nn.Parameter(torch.ones(2))

    def forward(self, batch):
        return self.head(self.blocks(batch["x"])).square().mean()


def net(depth: int = 3) -> Net:
    torch.manual_seed(1)
    return Net(depth)


def batch(rows: int = 6, *, wanted: bool = False):
    x = torch.randn(rows, 5, WIDTH, generator=torch.Generator().manual_seed(2))
    return {"x": x.requires_grad_(wanted)}


def step(model, given):
    return model(given)


BLOCKS = Plan(rules=(Rule(where="blocks.<0-9>", seam="forward", use=recomputed()),))


def wrong(use) -> Plan:
    """The second block run by `use`."""
    return Plan(rules=(Rule(where="blocks.1", seam="forward", use=use),))


def test_a_right_plan_is_verified():
    found = verify(net(), step, batch(), plan=BLOCKS)
    assert found.ok
    assert found.raise_if_bad() is found
    assert found.changed == 3
    assert found.compared == 3 * 6 + 2
    assert found.without == 1  # `unused`
    assert found.loss == pytest.approx(found.planned_loss, rel=1e-6)
    assert {row.name for row in found.rows} == {
        "loss",
        *(name for name, _ in net().named_parameters() if name != "unused"),
    }
    assert found.dtype == "float32"
    assert found.on == "the whole batch"
    assert found.worst.share == max(row.share for row in found.rows) < 1


def test_without_a_plan_the_seams_are_judged_as_they_stand():
    model = apply(net(), BLOCKS)
    assert verify(model, step, batch()).changed == 3
    assert len(describe(model)) == 3
    assert "both ran plain: give a plan" in str(verify(net(), step, batch()))
    broken = apply(net(), wrong(lambda forward, args, kwargs: 1.01 * forward(*args, **kwargs)))
    assert not verify(broken, step, batch()).ok


def gives_no_gradient(forward, args, kwargs):
    with torch.no_grad():
        out = forward(*args, **kwargs)
    return out + args[0] - args[0].detach()


def off_by_a_thousandth(forward, args, kwargs):
    return 1.001 * forward(*args, **kwargs)


def forgets_a_row(forward, args, kwargs):
    out = forward(*args, **kwargs)
    return torch.cat([out[:-1], out[-1:].detach()])


def makes_nan(forward, args, kwargs):
    out = forward(*args, **kwargs)
    out.register_hook(lambda gradient: gradient * float("nan"))
    return out


@pytest.mark.parametrize(
    ("use", "names", "message"),
    [
        (gives_no_gradient, "blocks.1.", "has no gradient in the planned model"),
        (off_by_a_thousandth, "", "is off by"),
        (forgets_a_row, "blocks.", "is off by"),
        (makes_nan, "blocks.", "is not finite in the planned model"),
    ],
)
def test_a_wrong_plan_is_refused_and_the_worst_parameter_named(use, names, message):
    found = verify(net().eval(), step, batch(), plan=wrong(use))
    assert not found.ok
    assert found.worst.name.startswith(names)
    with pytest.raises(VerificationError, match=message) as caught:
        found.raise_if_bad()
    assert found.worst.name in str(caught.value)
    assert "mend: leave out the plan's rule for that module" in str(caught.value)


def test_a_tolerance_of_one_s_own():
    plan = wrong(off_by_a_thousandth)
    assert verify(net().eval(), step, batch(), plan=plan, tolerance=0.1).ok
    found = verify(net().eval(), step, batch(), plan=plan, tolerance=1e-5)
    assert not found.ok
    assert {row.tolerance for row in found.rows} == {1e-5}
    assert "1e-05 was asked for" in str(found)


def test_both_draw_the_same_random_numbers():
    """Dropout is on: other numbers would change the loss."""

    def drawing(model, given):
        noise = np.random.random() + random.random() + torch.rand(())
        return model(given) * noise

    model = net().train()
    found = verify(model, drawing, batch(), plan=BLOCKS)
    assert found.ok
    assert found.loss == found.planned_loss


def test_nothing_is_touched():
    model = net().train()
    model.blocks[0] = nn.Sequential(Block(), nn.BatchNorm1d(5))
    apply(model, Plan(rules=(Rule(where="head", seam="forward", use=recomputed()),)))
    called = []
    for p in model.parameters():
        p.register_hook(lambda _: called.append(1))
        p.grad = torch.full_like(p, 7.0)
    given = batch(wanted=True)

    def overwrites(model, given):
        given["x"].data.mul_(2)
        return step(model, given)

    before = copy.deepcopy({"model": model.state_dict(), "x": given["x"].detach()})
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    held = {name: dict(seams) for name, seams in describe(model).items()}
    grads = {name: p.grad for name, p in model.named_parameters()}
    plan = Plan(rules=(Rule(where="blocks.<1-2>", seam="forward", use=recomputed()),))
    assert verify(model, overwrites, given, plan=plan).ok
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()
    assert torch.equal(given["x"], before["x"])
    assert given["x"].grad is None
    assert all(torch.equal(x, before["model"][name]) for name, x in model.state_dict().items())
    assert all(
        p.grad is grads[name] and (p.grad == 7).all() for name, p in model.named_parameters()
    )
    assert describe(model) == held
    assert not called
    assert model.training


def test_python_s_random_numbers_are_put_back():
    seeded = _seeded(0, [])  # the tests' own checks of types draw random numbers, too
    before = random.getstate()
    with seeded:
        first = random.random()
    assert random.getstate() == before
    with _seeded(0, []):
        assert random.random() == first


def test_the_cpu_s_own_limit_is_told(monkeypatch):
    """Where the kernel would kill the process, the plain model runs on less."""
    module = import_module("sci_memeff.planning.verify")
    with Guard(1 << 40) as alone:
        step(apply(net(8).eval(), BLOCKS), batch(4096)).backward()
    monkeypatch.setattr(module, "available_bytes", lambda: 2 * alone.peak)
    found = verify(net(8).eval(), step, batch(4096), plan=BLOCKS)
    assert found.ok
    assert found.on.startswith("slices of the batch")


def test_statistics_that_run_are_the_same_for_both():
    """Were they carried from run to run, evaluation by them would differ."""
    model = nn.Sequential(nn.BatchNorm1d(5, momentum=0.9), nn.Linear(WIDTH, 1))

    def twice(model, given):
        model[0].train()
        model(given["x"])
        model[0].eval()
        return model(given["x"]).square().mean()

    plan = Plan(rules=(Rule(where="1", seam="forward", use=recomputed()),))
    found = verify(model, twice, batch(), plan=plan)
    assert found.ok
    assert found.loss == found.planned_loss


def test_gradients_of_inputs_are_compared():
    found = verify(net(), step, batch(wanted=True), plan=BLOCKS)
    assert "the batch's ['x']" in {row.name for row in found.rows}
    detached = wrong(lambda forward, args, kwargs: forward(*(x.detach() for x in args), **kwargs))
    assert not verify(net(), step, batch(wanted=True), plan=detached).ok


def test_a_step_that_goes_backward_itself():
    def own(model, given):
        (2 * step(model, given)).backward()

    found = verify(net(), own, batch(), plan=BLOCKS)
    assert found.ok
    assert found.loss is None
    assert found.compared == 20
    assert not verify(net(), own, batch(), plan=wrong(off_by_a_thousandth)).ok


def test_a_model_may_be_a_function_that_builds_it():
    assert verify(net, step, batch(), plan=BLOCKS).ok


# Where the plain model does not fit


def test_the_plain_model_in_slices_of_the_batch():
    rows = 4096
    model, given = net(8).eval(), batch(rows)
    with Guard(1 << 40) as alone:
        step(apply(copy.deepcopy(model), BLOCKS), given).backward()
    with Guard(1 << 40) as plainly:
        step(copy.deepcopy(model), given).backward()
    most = 2 * alone.peak
    assert plainly.peak > most
    with Guard(most) as limit:
        found = verify(model, step, given, plan=BLOCKS)
    assert limit.raised
    assert found.ok
    assert found.on.startswith("slices of the batch")
    assert "slices of the batch" in str(found)
    with Guard(most):
        assert not verify(model, step, given, plan=wrong_and(BLOCKS)).ok


def wrong_and(plan: Plan) -> Plan:
    worse = Rule(where="blocks.7", seam="forward", use=forgets_a_row)
    return Plan(rules=(*plan.rules, worse))


def test_the_plain_model_on_a_smaller_batch_of_one_s_own():
    rows = 4096
    model = net(8).eval()
    with Guard(1 << 40) as alone:
        step(apply(copy.deepcopy(model), BLOCKS), batch(rows)).backward()

    def not_enough(given):
        return {"x": given["x"][:-1]}

    def shorter(given):
        return {"x": given["x"][:, :1]}

    with Guard(2 * alone.peak):
        found = verify(model, step, batch(rows), plan=BLOCKS, smaller=(not_enough, shorter))
        assert found.ok
        assert found.on == "a smaller batch (number 2, shorter)"
        with pytest.raises(VerificationError, match="mend: give functions that make the batch"):
            verify(model, step, batch(rows), plan=BLOCKS, smaller=(not_enough,))


def test_want_of_memory_of_the_planned_model_is_told():
    with Guard(100_000), pytest.raises(torch.OutOfMemoryError, match="asked for"):
        verify(net(), step, batch(10_000), plan=BLOCKS)


# With a reference


def rounded(places: int):
    def use(forward, args, kwargs):
        out = forward(*args, **kwargs)
        return out + (out.detach() * 2**places).round() / 2**places - out.detach()

    return use


def test_a_reference_tells_how_far_both_are_off():
    found = verify(net().train(), step, batch(), plan=BLOCKS, reference="float64")
    assert found.ok
    assert found.reference == "float64"
    assert all(0 < row.plain_error < 1e-5 for row in found.gradients)
    assert all(row.seed_noise > 1e-3 for row in found.gradients)  # dropout
    assert "two seeds" in str(found)
    assert "compared with a float64 reference" in str(found)


def test_lossy_choices_are_measured_by_the_noise_of_seeds():
    little, much = (wrong(rounded(places)) for places in (8, 1))
    assert not verify(net().train(), step, batch(), plan=little).ok
    assert verify(net().train(), step, batch(), plan=little, reference="float64").ok
    assert not verify(net().train(), step, batch(), plan=much, reference="float64").ok


def test_half_precision_against_a_reference():
    model, given = net().bfloat16().eval(), {"x": batch()["x"].bfloat16()}
    found = verify(model, step, given, plan=BLOCKS, reference="float64")
    assert found.ok
    assert found.dtype == "bfloat16"
    assert all(1e-4 < row.plain_error < 0.2 for row in found.gradients)
    assert not verify(model, step, given, plan=wrong(gives_no_gradient), reference="float64").ok


# What cannot be compared


def test_no_gradient_proves_nothing():
    found = verify(net(), lambda model, given: 0 * step(model, given), batch(), plan=BLOCKS)
    assert not found.ok
    with pytest.raises(VerificationError, match="mend: let the step return a loss that depends"):
        found.raise_if_bad()


def test_a_model_without_values():
    with torch.device("meta"):
        model = net()
    with pytest.raises(BadConfigError, match="mend: build it on a real device"):
        verify(model, step, batch(), plan=BLOCKS)


def test_a_model_that_cannot_be_copied():
    model = net()
    model.lock = (k for k in range(3))
    with pytest.raises(BadConfigError, match="mend: give the module inside of wrappers"):
        verify(model, step, batch(), plan=BLOCKS)


def test_a_plan_or_a_reference_that_does_not_fit():
    with pytest.raises(BadPlanError, match="nowhere"):
        verify(net(), step, batch(), plan=Plan(rules=(replaced("nowhere"),)))
    with pytest.raises(BadConfigError, match="mend: use one of float32, float64, or None"):
        reference_dtype("float16")


def replaced(where: str) -> Rule:
    return Rule(where=where, seam="forward", use=recomputed())


def test_the_result_as_text_and_json():
    found = verify(net().eval(), step, batch(), plan=wrong(gives_no_gradient))
    lines = str(found).splitlines()
    assert lines[0].startswith("NOT verified: the loss and 20 gradients on the whole batch")
    assert "in float32, of up to" in lines[1]
    assert any("has no gradient in the planned model" in line for line in lines)
    read = json.loads(found.to_json())
    assert read["ok"] is False
    assert read["rows"][0]["error"] is None  # infinite
    assert read["rows"][0]["name"] == found.worst.name
    assert str(verify(net(), step, batch(), plan=BLOCKS)).startswith("verified: the loss and 20")
