"""Simulated copies: which bytes a device would hold, and when."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.multiprocessing.reductions import StorageWeakRef

from sci_memeff._types import Tensors
from sci_memeff.checkpointing import Device, Disk, Host, Store, in_segments


def boundaries_alive(keep: Store) -> list[int]:
    """In each recomputation of six steps: how many carries are on the device."""
    given: list[StorageWeakRef] = []
    alive: list[int] = []
    made: list[StorageWeakRef] = []

    def step(x: Tensor) -> Tensors:
        (given if len(given) < 6 else made).append(StorageWeakRef(x.untyped_storage()))
        alive.append(sum(not ref.expired() for ref in {*given, *made, *prefetched}))
        return (x.sin(),)

    prefetched: list[StorageWeakRef] = []
    empty_like = torch.empty_like

    def noted(x: Tensor, *args, **kwargs) -> Tensor:
        found = empty_like(x, *args, **kwargs)
        if found.device.type != "meta":
            prefetched.append(StorageWeakRef(found.untyped_storage()))
        return found

    with FakeTensorMode(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "empty_like", noted)
        x = torch.empty(1000, requires_grad=True)
        ((out,),) = in_segments(1, keep=keep)([step] * 6, (x * 1,))
        alive.clear()
        out.sum().backward()
    return alive


def test_the_host_gives_back_one_ahead():
    assert boundaries_alive(Device()) == [6, 5, 4, 3, 2, 1]
    assert boundaries_alive(Host(min_bytes=0)) == [2, 2, 2, 2, 2, 1]
    assert boundaries_alive(Host(min_bytes=0, ahead=False)) == [1] * 6
    assert boundaries_alive(Disk(min_bytes=0)) == [1] * 6
