"""Live bytes over time against a replay, tick by tick."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sci_memeff.measure.breakdown import by_module, by_phase, by_tensor
from sci_memeff.measure.history import History
from sci_memeff.measure.log import KINDS, Log, Origin

CPU = torch.device("cpu")
PHASES = [("forward",), ("forward", "loss"), ("backward",), ("recompute",), ("optimizer",)]


@st.composite
def logs(draw) -> Log:
    log = Log()
    names = ["", "a", "a.b", "c.0", "c.1"]
    modules = [log.all_modules.number(name) for name in names]
    alive: list[int] = []
    for _ in range(draw(st.integers(0, 25))):
        log.begin(log.all_phases.number(draw(st.sampled_from(PHASES))))
        for _ in range(draw(st.integers(0, 3))):
            origin = Origin(draw(st.sampled_from(modules)), "op", (2,), torch.float32)
            kind = draw(st.sampled_from(["transient", "gradients", "inputs"]))
            tick = draw(st.sampled_from([0, log.now]))
            device = draw(st.sampled_from([CPU, CPU, torch.device("meta")]))
            alive.append(log.born(draw(st.integers(1, 99)), origin, device, kind, tick=tick))
        for _ in range(draw(st.integers(0, len(alive)))):
            row = alive.pop(draw(st.integers(0, len(alive) - 1)))
            log.died(row, tick=log.now)
        log.flops[draw(st.sampled_from(modules)), log.phases[-1]] += draw(st.integers(0, 9))
    return log


def replay(history: History, rows) -> list[int]:
    return [
        sum(
            int(history.sizes[row])
            for row in rows
            if history.births[row] <= tick <= history.deaths[row]
        )
        for tick in range(history.num_ticks)
    ]


@settings(max_examples=60, deadline=None)
@given(logs())
def test_totals_and_groups_are_those_of_a_replay(log):
    history = History(log, CPU)
    rows = range(len(history.sizes))
    total = replay(history, rows)
    assert history.total.tolist() == total
    assert history.peak == max(total)
    assert history.peak_tick == total.index(max(total))
    groups = history.kinds
    expected = {
        int(group): max(replay(history, [row for row in rows if groups[row] == group]))
        for group in set(groups.tolist())
    }
    assert history.peaks_by(groups) == expected
    assert sum(group.bytes for group in by_tensor(history)) == history.peak


@settings(max_examples=60, deadline=None)
@given(logs())
def test_modules_and_phases_are_those_of_a_replay(log):
    history = History(log, CPU)
    rows = range(len(history.sizes))
    for depth in (None, 1):
        modules = by_module(history, depth)
        assert sum(module.at_peak for module in modules.values()) == history.peak
        assert sum(module.flops for module in modules.values()) == sum(log.flops.values())
        for name, module in modules.items():
            own = [row for row in rows if shown(log, history, row, depth) == name]
            assert module.highest == max(replay(history, own))
    phases = by_phase(history)
    total = replay(history, rows)
    for name, phase in phases.items():
        ticks = [
            tick
            for tick in range(1, history.num_ticks)
            if "/".join(log.all_phases.names[log.phases[tick]]).startswith(name)
        ]
        assert phase.peak == max(total[tick] for tick in ticks)
        after = [row for row in rows if history.births[row] <= ticks[-1] < history.deaths[row]]
        assert phase.left == sum(int(history.sizes[row]) for row in after)


def shown(log: Log, history: History, row: int, depth: int | None) -> str:
    name = log.all_modules.names[log.all_origins.names[history.origins[row]].module]
    return name if depth is None else ".".join(name.split(".")[:depth])


def test_saved_is_what_a_backward_pass_lets_go_of():
    log = Log()
    forward, backward = (log.all_phases.number((name,)) for name in ("forward", "backward"))
    origin = Origin(0, "op", (1,), torch.float32)
    log.begin(forward)
    rows = [log.born(1, origin, CPU, "transient", tick=log.now) for _ in range(3)]
    log.died(rows[0], tick=log.now)  # gone before the backward pass
    log.begin(backward)
    rows.append(log.born(1, origin, CPU, "transient", tick=log.now))
    log.died(rows[1], tick=log.now)
    log.died(rows[3], tick=log.now)  # its own
    kinds = [KINDS[k] for k in History(log, CPU).kinds]
    assert kinds == ["transient", "saved", "transient", "transient"]


def test_an_empty_log_has_no_peak():
    history = History(Log(), CPU)
    assert history.peak == 0
    assert history.total.tolist() == [0]
    assert by_tensor(history) == []
    assert by_phase(history) == {}
    assert by_module(history, None) == {}
    assert np.array_equal(history.bytes_of(history.kinds == 0), [0])
