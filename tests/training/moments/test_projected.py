"""GaLore against galore-torch's own optimizer."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor, nn

from sci_memeff.errors import MissingPackageError
from sci_memeff.training.config import GaLoreConfig, OptimizerConfig
from sci_memeff.training.states import AdamWithAverage

GALORE = GaLoreConfig(rank=4, every=3, scale=0.5)
CONFIG = OptimizerConfig(kind="galore", learning_rate=1e-2, eps=1e-12, galore=GALORE)


def net() -> nn.Module:
    """A tall matrix, a wide one, and one that is too narrow to be projected."""
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(10, 24), nn.Tanh(), nn.Linear(24, 9), nn.Linear(9, 7))


def backward(model: nn.Module, seed: int) -> None:
    x = torch.randn(40, 10, generator=torch.Generator().manual_seed(seed))
    model(x.to(next(model.parameters()).dtype)).square().sum().backward()


def test_the_steps_are_galore_torch_s() -> None:
    from galore_torch import GaLoreAdamW

    ours, theirs = net().double(), net().double()
    mine = AdamWithAverage(ours, CONFIG)
    how = {"rank": 4, "update_proj_gap": 3, "scale": 0.5, "proj_type": "std"}
    large = [p for p in theirs.parameters() if p.ndim == 2 and min(p.shape) >= 8]
    small = [p for p in theirs.parameters() if all(p is not q for q in large)]
    assert [tuple(p.shape) for p in large] == [(24, 10), (9, 24)]
    other = GaLoreAdamW(
        [{"params": large, **how}, {"params": small}],
        lr=1e-2,
        eps=1e-12,
        no_deprecation_warning=True,
    )
    for update in range(8):
        backward(ours, update)
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert p.grad is not None
            q.grad = p.grad.clone()
        mine.step()
        other.step()
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-9)


def test_ranks_are_in_the_groups_and_bytes_are_less() -> None:
    model = net()
    optimizer = AdamWithAverage(model, CONFIG)
    large, small = optimizer.param_groups
    assert large["rank"] == 4
    assert "rank" not in small
    assert [tuple(p.shape) for p in large["params"]] == [(24, 10), (9, 24)]
    backward(model, 0)
    optimizer.step()
    shapes = {n: tuple(x.shape) for n, x in optimizer.state[model[0].weight].items()}  # type: ignore[index]
    assert shapes == {
        "step": (),
        "exp_avg": (24, 4),
        "exp_avg_sq": (24, 4),
        "directions": (4, 10),
        "average": (24, 10),
    }
    for p in model.parameters():
        for name, value in optimizer.state[p].items():
            assert value.untyped_storage().nbytes() == value.nbytes  # no view of more
            assert optimizer.states_of(p)[name].shape == value.shape


@pytest.mark.parametrize("projected", [True, False])
def test_one_group_is_enough(projected: bool) -> None:
    model = nn.Linear(16, 16, bias=not projected) if projected else nn.Linear(2, 2)
    optimizer = AdamWithAverage(model, CONFIG)
    assert ["rank" in group for group in optimizer.param_groups] == [projected]
    model(torch.randn(3, model.in_features)).sum().backward()
    before = model.weight.detach().clone()
    optimizer.step()
    assert not torch.equal(model.weight, before)


def test_directions_are_found_again_in_time_after_states_are_loaded() -> None:
    def directions(stop: int | None) -> list[Tensor]:
        model = net()
        optimizer = AdamWithAverage(model, CONFIG)
        found = []
        for update in range(8):
            if update == stop:
                state = optimizer.state_dict()
                optimizer = AdamWithAverage(model, CONFIG)
                optimizer.load_state_dict(state)
            backward(model, update)
            optimizer.step()
            found.append(optimizer.state[model[0].weight]["directions"].clone())  # type: ignore[index]
        return found

    whole = directions(None)
    changed = [k for k in range(1, 8) if not torch.equal(whole[k], whole[k - 1])]
    assert changed == [3, 6]
    for stop in range(1, 8):
        assert all(torch.equal(a, b) for a, b in zip(directions(stop), whole, strict=True))


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in sys.modules if n.partition(".")[0] == "galore_torch"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "galore_torch", None)
    with pytest.raises(MissingPackageError, match=r"(?s)galore-torch.*pip install 'sci-memeff\["):
        AdamWithAverage(net(), CONFIG)
