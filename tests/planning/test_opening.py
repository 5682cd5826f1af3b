"""What a search is opened with: which forms of attention it may choose, and another batch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sci_memeff.kernels import attend
from sci_memeff.planning.candidates import Space
from sci_memeff.planning.groups import AttendGroup
from sci_memeff.planning.opening import search_at, search_of
from sci_memeff.planning.prediction import predicted
from sci_memeff.planning.search import Found
from sci_memeff.planning.targets import chosen_target


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 8)) for _ in range(3)
        )

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + block(x)
        return x


def step(model: nn.Module, x: Tensor) -> Tensor:
    return model(x).square().mean()


def batch_at(length: int) -> Tensor:
    return torch.empty(length, 8, device="meta")


@pytest.mark.parametrize(
    ("target", "allow", "form"),
    [
        ("H100-80GB", ("exact",), "streaming"),
        ("H100-80GB", ("exact", "rounding"), "auto"),
        ("cpu", ("exact", "rounding"), "streaming"),  # has no kernels of its own
    ],
)
def test_rounding_allows_a_gpu_s_own_kernels(
    target: str, allow: tuple[str, ...], form: str
) -> None:
    search = search_of(Net(), step, batch_at(64), chosen_target(target), allow=allow)  # type: ignore[arg-type]
    assert search.space.attention == form
    assert search_at(search, batch_at(32)).space.attention == form


def test_what_rounds_says_so() -> None:
    search = search_of(Net(), step, batch_at(64), chosen_target("H100-80GB"))
    group = AttendGroup(where="blocks.0", count=1, saved=1, seconds=1.0)
    search.space = Space((group,), search.space.stores)
    for form, tier in (("auto", "rounding"), ("streaming", "exact")):
        for state in ((None,), (form,)):
            plain = search.rehearsal.under(Space((), ()).plan(()))
            search.known[state] = Found(
                state, plain.peak, "", "", 0, plain.cost.flops, 1.0, plain.tensors
            )
        actions = predicted(search, search.known[form,], None).actions
        assert [(action.what, action.tier) for action in actions] == [(f"attention: {form}", tier)]
        assert group.rules(form)[0].use == attend(form)  # type: ignore[arg-type]


def test_another_batch_is_a_search_of_its_own() -> None:
    """With the slices, boundaries and bytes of that batch, as if it had been the first."""
    target = chosen_target("T4-16GB")
    other = search_at(search_of(Net(), step, batch_at(8), target), batch_at(4096))
    alone = search_of(Net(), step, batch_at(4096), target)
    assert other.space.groups == alone.space.groups
    assert other.space.stores == alone.space.stores
    assert [(f.state, f.peak, f.seconds) for f in other.whole_front()] == [
        (f.state, f.peak, f.seconds) for f in alone.whole_front()
    ]
    assert other.plain.peak > search_of(Net(), step, batch_at(8), target).plain.peak
