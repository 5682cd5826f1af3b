"""The order in which a shelf asks for its copies."""

from __future__ import annotations

import torch
from torch import Tensor

from sci_memeff.checkpointing.segments import in_segments
from sci_memeff.checkpointing.shelf import Shelf, watch_traffic


class Noted:
    """A copy that says when it is asked for."""

    def __init__(self, tensor: Tensor, log: list[str], name: str) -> None:
        self.tensor, self.log, self.name = tensor.clone(), log, name
        self.nbytes = tensor.nbytes
        self.is_ahead = False

    def prefetch(self) -> None:
        if not self.is_ahead:
            self.log.append(f"prefetch {self.name}")
        self.is_ahead = True

    def fetch(self) -> Tensor:
        assert self.is_ahead
        self.log.append(f"fetch {self.name}")
        self.is_ahead = False
        return self.tensor


class NotedStore:
    """A store of `Noted` ones, named by segment and place."""

    def __init__(self, log: list[str], *, ahead: bool = True) -> None:
        self.log = log
        self.ahead = ahead
        self.count = 0

    def opened(self, context) -> Shelf:
        return Shelf(self.copy, context, min_bytes=0, ahead=self.ahead)

    def copy(self, tensor: Tensor) -> Noted:
        segment, place = divmod(self.count, 2)
        self.count += 1
        return Noted(tensor, self.log, f"{segment}{'xy'[place]}")


def order_of(*, ahead: bool) -> list[str]:
    """What a backward pass through three steps asks for, by segment."""
    log: list[str] = []
    iterate = in_segments(1)
    object.__setattr__(iterate, "keep", NotedStore(log, ahead=ahead))

    def step(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        log.append("step")
        return x.sin() * y, y.cos() + x

    x, y = (torch.rand(3, requires_grad=True) for _ in range(2))
    ((x1, y1),) = iterate([step] * 3, (x, y))
    assert log == ["step"] * 3
    log.clear()
    (x1.sum() + y1.sum()).backward()
    # which one of a segment's comes first does not matter
    return [line.rstrip("xy") for line in log]


def test_the_segment_before_is_on_its_way_while_one_is_recomputed():
    assert order_of(ahead=True) == [
        *["prefetch 2", "prefetch 2", "fetch 2", "prefetch 1", "prefetch 1", "fetch 2", "step"],
        *["fetch 1", "prefetch 0", "prefetch 0", "fetch 1", "step"],
        *["fetch 0", "fetch 0", "step"],
    ]


def test_every_segment_waits_for_its_own_where_nothing_comes_ahead():
    of_one = ["prefetch", "prefetch", "fetch", "fetch", "step"]
    names = [f"{word} {i}" if word != "step" else word for i in (2, 1, 0) for word in of_one]
    assert order_of(ahead=False) == names


def test_what_passes_segments_by_is_fetched_for_each():
    log: list[str] = []
    iterate = in_segments(1)
    object.__setattr__(iterate, "keep", NotedStore(log))
    x, y = (torch.rand(3, requires_grad=True) for _ in range(2))
    ((x1, y1),) = iterate([lambda x, y: (x.sin() * y, y)] * 3, (x, y))
    (x1.sum() + y1.sum()).backward()
    # x and y of the first, then the x of two more: 0x 0y 1x 1y in the order of storing
    fetched = sorted(line for line in log if line.startswith("fetch"))
    assert fetched == ["fetch 0x", *["fetch 0y"] * 3, "fetch 1x", "fetch 1y"]
    ahead = [line for line in log if line.startswith("prefetch")]
    assert sorted(ahead) == [line.replace("fetch", "prefetch") for line in fetched]
    assert ahead.index("prefetch 0x") > ahead.index("prefetch 1y")


def test_traffic_is_counted_by_every_watcher():
    with watch_traffic() as outer:
        shelf = Shelf(lambda x: Noted(x, [], "x"), (), min_bytes=0)
        with shelf.keeping(), watch_traffic() as inner:
            out = torch.ones(3, requires_grad=True).sin()
        out.sum().backward()
    assert (outer.stored_bytes, outer.fetched_bytes) == (12, 12)
    assert (inner.stored_bytes, inner.fetched_bytes) == (12, 0)


def test_of_an_expanded_tensor_what_repeats_is_not_moved():
    shelf = Shelf(lambda x: Noted(x, [], "x"), (), min_bytes=0)
    x = torch.rand(3, 1, 5).expand(3, 1000, 5)
    with watch_traffic() as traffic:
        with shelf.keeping():
            y = x * torch.ones(5, requires_grad=True)
        saved = y.grad_fn._saved_self
    assert saved.stride() == x.stride()
    assert torch.equal(saved, x)
    assert traffic.stored_bytes == traffic.fetched_bytes == 3 * 5 * 4


def test_what_is_small_but_for_repeating_stays():
    shelf = Shelf(lambda x: Noted(x, [], "x"), (), min_bytes=100)
    x = torch.rand(1, 5).expand(1000, 5)
    with watch_traffic() as traffic, shelf.keeping():
        y = x * torch.ones(5, requires_grad=True)
    assert y.grad_fn._saved_self.data_ptr() == x.data_ptr()
    assert traffic.stored_tensors == 0
