"""Bytes that are alive, what computes on them, and what was alive at the peak."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils.checkpoint import checkpoint

from sci_memeff import simulate
from sci_memeff.planning.meter import Cost, Made, Meter, device_of, storage_of, tensors_in

CPU = torch.device("cpu")
KIB = 256  # float32 numbers


@pytest.fixture(autouse=True)
def fake() -> Iterator[None]:
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield


def meter(seconds: float = 0.0) -> Meter:
    return Meter(CPU, lambda flops, moved, dtype: seconds)


def test_level_and_peak() -> None:
    with meter() as one:
        a = torch.empty(KIB)
        b = torch.empty(3 * KIB)
        assert (one.level, one.peak) == (4096, 4096)
        del b
        c = torch.empty(KIB)
        assert (one.level, one.peak) == (2048, 4096)
        del a, c
    assert (one.level, one.peak) == (0, 4096)


def test_views_are_no_bytes() -> None:
    with meter() as one:
        a = torch.empty(2, KIB)
        _kept = a.view(-1), a.T, a[0], a.expand(2, 2, KIB), a.detach()
        a.add_(1)
        assert one.level == one.peak == 2048


def test_a_view_holds_its_storage() -> None:
    with meter() as one:
        view = torch.empty(KIB)[:1]
        assert one.level == 1024
        del view
        assert one.level == 0


def test_what_was_there_before_is_not_counted_until_it_is_shown() -> None:
    old, expected, unused = torch.empty(KIB), torch.empty(2 * KIB), torch.empty(4 * KIB)
    one = meter()
    one.see(old, "parameter", "somewhere")
    one.see(old.view(2, -1), "parameter", "somewhere")
    one.expect(expected)
    one.expect(unused)
    assert one.level == 1024
    with one:
        made = torch.empty(KIB)
        assert one.level == 2048
        _sum = made[0] + expected[0]  # read only now, and there from the first moment
    assert one.level == 1024 + 1024 + 2048 + 4
    assert one.peak == one.level
    assert Made("parameter", (KIB,), torch.float32, "somewhere") in one.at_the_peak()


def test_bytes_without_tensors() -> None:
    one = meter()
    one.add(1000, "optimizer's states")
    with one:
        _made = torch.empty(1)
    assert (one.level, one.peak) == (1004, 1004)
    assert sum(one.at_the_peak().values()) == 1004


def test_other_devices_are_counted_apart() -> None:
    with meter() as one:
        here = torch.empty(KIB)
        there = torch.empty(KIB, device="meta")
        assert (one.level, one.elsewhere, one.moved) == (1024, 1024, 1024)
        del there
        there = torch.empty(2 * KIB, device="meta")
        assert (one.level, one.elsewhere, one.moved) == (1024, 2048, 3072)
        assert device_of(there).type == "meta"
        assert device_of(here) == CPU
    assert one.peak_elsewhere == 2048


def test_what_was_alive_at_the_peak() -> None:
    """Neither what had been freed before nor what came after."""
    with meter() as one:
        one.where = lambda: ("forward", "before")
        gone = torch.empty(5)
        stays = torch.empty(6)
        del gone
        one.where = lambda: ("backward", "block")
        peak = torch.empty(7)
        del peak
        _after = torch.empty(1)
    assert one.peak == 4 * 13
    assert one.at_peak == ("backward", "block")
    kind = "empty", torch.float32
    assert one.at_the_peak() == {
        Made(kind[0], (6,), kind[1], "before"): 24,
        Made(kind[0], (7,), kind[1], "block"): 28,
    }
    del stays


def test_after_a_restart_the_peak_is_what_is_alive_then() -> None:
    with meter() as one:
        stays, gone = torch.empty(6), torch.empty(50)
        del gone
        one.restart()
        assert one.peak == 24
        assert list(one.at_the_peak().values()) == [24]
        more = torch.empty(1)
        assert (one.peak, one.stretches) == (28, [28])
    del stays, more


def test_many_births_and_deaths_add_up_to_the_peak() -> None:
    kept: list[Tensor] = []
    with meter() as one:
        for k in range(1, 60):
            kept.append(torch.empty(k * 7 % 31 + 1))
            if k % 3:
                kept.pop(k * 5 % len(kept))
            assert sum(one.at_the_peak().values()) == one.peak
            if k == 30:
                one.restart()


def test_one_tensor_may_stand_for_others() -> None:
    parts = Counter(
        {
            Made("mul", (9,), torch.float32, "inside"): 36,
            Made("add", (1,), torch.float32, "inside"): 90,
        }
    )
    one = meter()
    with one, one.making("what the graph keeps", parts):
        _ghost = torch.empty(100, dtype=torch.uint8)
    # the largest of them, as many as fit: the rest had been there
    assert sorted(one.at_the_peak().values()) == [10, 90]


def test_moments_between_what_is_freed() -> None:
    a, b = torch.empty(KIB), torch.empty(2 * KIB)
    keys = [storage_of(a), storage_of(b)]
    one = meter()
    one.see(a, "")
    one.see(b, "")
    assert all(one.is_alive(key) for key in keys)
    one.given(keys)
    followed = one.follows(b)
    with one:
        one.restart()
        made = torch.empty(KIB)
        del made, b
        made = torch.empty(5 * KIB)
        del a
        assert one.is_following(one.follows(made))
    assert not one.is_following(followed)
    assert one.deaths == [keys[1], keys[0]]
    assert one.stretches == [4096, 6 * 1024, 5 * 1024]
    assert not one.is_alive(keys[0])


def test_computing() -> None:
    with meter(2.0) as one:
        a = torch.empty(8, 16) @ torch.empty(16, 4)
        assert one.cost == Cost(2 * 8 * 16 * 4, 2.0)
        assert one.operations == 3
        _view = a.T  # no work, and so no time
        before = one.cost.copy()
        a.relu_()
        assert one.cost.since(before) == Cost(0, 2.0)
        with one.repeated(5):
            _product = a.T @ a
        assert one.cost.since(before) == Cost(5 * 2 * 4 * 8 * 4, 12.0)


def test_time_is_asked_for_with_what_is_read_and_written() -> None:
    asked = []

    def seconds(flops: int, moved: int, dtype: torch.dtype) -> float:
        asked.append((flops, moved, dtype))
        return 1.0

    a, b = torch.empty(8, 16).bfloat16(), torch.empty(16, 4).bfloat16()
    with Meter(CPU, seconds) as one:
        _product = a @ b
    assert asked == [(1024, 2 * (8 * 16 + 16 * 4 + 8 * 4), torch.bfloat16)]
    assert one.cost.seconds == 1.0


def test_tensors_in_nested_values() -> None:
    a, b, c = (torch.empty(1) for _ in range(3))
    assert [id(x) for x in tensors_in({"a": (a, [b]), "n": 1, "c": {"d": c}})] == [
        id(a),
        id(b),
        id(c),
    ]


@pytest.mark.parametrize("recompute", [False, True])
def test_a_whole_step_is_counted_as_measure_counts_it(recompute: bool) -> None:
    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 8))

    def step(model: nn.Module, x: Tensor) -> Tensor:
        if recompute:
            return checkpoint(model, x, use_reentrant=False).square().sum()  # type: ignore[union-attr]
        return model(x).square().sum()

    model, x = build(), torch.empty(50, 8)
    one = meter()
    for p in model.parameters():
        one.see(p, "parameter")
    one.expect(x)
    with one:
        step(model, x).backward()
    with unset_fake_temporarily():
        whole = simulate(build, step, torch.empty(50, 8, device="meta"), device="cpu")
    assert one.peak == whole.peaks[CPU]
    assert one.cost.flops == whole.flops
    assert sum(one.at_the_peak().values()) == one.peak
