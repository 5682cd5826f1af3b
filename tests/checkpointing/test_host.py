"""The order in which a GPU's streams wait for one another, on stand-ins that write it down."""

from __future__ import annotations

from contextlib import contextmanager
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor

from sci_memeff.checkpointing.host import HostCopies, PinnedCopy, PlainCopy


def stream_of(name: str, log: list[str]) -> Mock:
    stream = Mock(spec=torch.cuda.Stream)
    stream.label = name
    stream.wait_stream = lambda other: log.append(f"{name} waits for {other.label}")
    stream.wait_event = lambda event: log.append(f"{name} waits for event {event.number}")
    return stream


class Event:
    """Numbered as they are recorded."""

    def __init__(self, log: list[str]) -> None:
        self.log, self.number = log, -1

    def record(self, stream: Mock) -> None:
        self.number = sum(line.startswith("event") for line in self.log)
        self.log.append(f"event {self.number} on {stream.label}")


@pytest.fixture
def log(monkeypatch) -> list[str]:
    """What happens, in its order."""
    log: list[str] = []
    main, empty_like, copy = stream_of("main", log), torch.empty_like, Tensor.copy_

    @contextmanager
    def stream(lane: Mock):
        log.append(f"on {lane.label}")
        yield
        log.append("on main")

    def unpinned(x: Tensor, *, device: object, pin_memory: bool = False) -> Tensor:
        log.append("pinned" if pin_memory else "here")
        return empty_like(x)

    def copied(x: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
        assert non_blocking
        log.append("copy")
        return copy(x, source)

    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: main)
    monkeypatch.setattr(torch.cuda, "stream", stream)
    monkeypatch.setattr(torch.cuda, "Event", lambda: Event(log))
    monkeypatch.setattr(torch, "empty_like", unpinned)
    monkeypatch.setattr(Tensor, "copy_", copied)
    note = lambda x, stream: log.append(f"{stream.label} uses")  # noqa: E731
    monkeypatch.setattr(Tensor, "record_stream", note)
    return log


STORE = ["pinned", "lane waits for main", "on lane", "copy", "on main", "lane uses"]


def there(event: int) -> list[str]:
    return ["on lane", "here", "copy", f"event {event} on lane", "on main"]


def back(event: int) -> list[str]:
    return [f"main waits for event {event}", "main uses"]


def test_the_lane_waits_for_what_computes_a_tensor_and_who_reads_it_for_the_lane(log):
    x = torch.rand(3, 4)
    kept = PinnedCopy(x, stream_of("lane", log))
    assert log == STORE
    assert torch.equal(kept.fetch(), x)
    assert log == STORE + there(0) + back(0)


def test_a_copy_that_is_ahead_is_not_made_again(log):
    kept = PinnedCopy(torch.rand(3, 4), stream_of("lane", log))
    kept.prefetch()
    kept.prefetch()
    assert log == STORE + there(0)
    kept.fetch()
    assert log == STORE + there(0) + back(0)
    kept.fetch()  # for another backward pass
    assert log == STORE + there(0) + back(0) + there(1) + back(1)


def test_tensors_of_the_host_are_copied_plainly():
    x = torch.rand(4, 3).t()
    kept = HostCopies()(x)
    assert isinstance(kept, PlainCopy)
    kept.prefetch()
    found = kept.fetch()
    assert torch.equal(found, x)
    assert found.stride() == x.stride()
    assert found.data_ptr() != x.data_ptr()
