"""What each of two processes does in `test_apply_distributed`: planned models, wrapped."""

from __future__ import annotations

import os
import sys

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from sci_memeff import apply, describe

from .foreign_nets import NETS, answer, batch, made

WORLD = 2
WAYS = ("DDP", "apply, FSDP", "FSDP, apply")


def wrapped(name: str, way: str) -> nn.Module:
    model, net = made(name), NETS[name]
    if way == "FSDP, apply":
        return apply(sharded(model, net.units), net.plan)
    apply(model, net.plan)
    return DistributedDataParallel(model) if way == "DDP" else sharded(model, net.units)


def sharded(model: nn.Module, units: tuple[str, ...]) -> nn.Module:
    mesh = init_device_mesh("cpu", (WORLD,), mesh_dim_names=("data",))
    for unit in units:
        fully_shard(model.get_submodule(unit), mesh=mesh)
    return fully_shard(model, mesh=mesh)


def gathered(found: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix("module."): x.full_tensor() if isinstance(x, DTensor) else x
        for name, x in found.items()
    }


def train(rank: int, folder: str) -> None:
    """Two steps of every net in every way; leaves what they give in `folder`."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=WORLD
    )
    found = {}
    for name in NETS:
        for way in WAYS:
            model = wrapped(name, way)
            assert len(describe(model)) >= 3
            steps = [gathered(answer(model, batch(name, rank))) for _ in range(2)]
            found[name, way] = steps
    torch.save(found, f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # gloo may abort when the interpreter ends
