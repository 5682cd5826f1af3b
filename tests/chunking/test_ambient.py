"""Autocast and generators, recorded and put back."""

from __future__ import annotations

import pytest
import torch

from sci_memeff.chunking.ambient import Autocast, GeneratorStates

CPU = [torch.ones(1)]


@pytest.mark.parametrize("enabled", [False, True])
@pytest.mark.parametrize("other", [False, True])
def test_autocast_is_put_back(enabled, other):
    with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
        then = Autocast.now(CPU)
    with torch.autocast("cpu", torch.float16, enabled=other):
        with then.again():
            assert torch.is_autocast_enabled("cpu") == enabled
            if enabled:
                assert torch.get_autocast_dtype("cpu") == torch.bfloat16
                assert not torch.is_autocast_cache_enabled()
        assert torch.is_autocast_enabled("cpu") == other
    assert torch.is_autocast_cache_enabled()


def test_devices_without_autocast():
    assert [kind for kind, *_ in Autocast.now([torch.ones(1, device="meta")]).modes] == ["cpu"]


def test_generators_repeat_themselves_and_are_put_back():
    states = GeneratorStates.now(CPU)
    first = torch.rand(3)
    state = torch.get_rng_state()
    with states.again():
        assert torch.equal(torch.rand(3), first)
        torch.rand(100)
    assert torch.equal(torch.get_rng_state(), state)


def test_states_are_kept_only_if_something_was_drawn():
    states = GeneratorStates.now(CPU)
    assert states.if_drawn() is None
    torch.rand(1)
    assert states.if_drawn() is states


def test_nothing_is_drawn_for_tensors_without_data():
    states = GeneratorStates.now([torch.ones(1, device="meta")])
    assert states.states == {}
    assert states.if_drawn() is None
