"""What each of two processes does in `test_distributed`: a step under DDP, and counts of it."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sci_memeff.chunking import in_slices

from .modules import Mixed, double, mixed_inputs

WORLD = 2


class Twice(nn.Module):
    """Two walks of a layer that share its parameters, and one of another."""

    def __init__(self, size: int | None) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.mixed = Mixed()
        self.mixed.unused.requires_grad_(False)
        self.size = size

    def forward(self, rows: tuple[Tensor, ...], shared: tuple[Tensor, ...]) -> Tensor:
        x = rows[0]
        for _ in range(2):
            x = x + self._walked(self.first, (x,), (), -3, -3)
        outputs = self._walked(
            self.mixed.rows, (x, *rows[1:]), shared, Mixed.IN_DIMS, Mixed.OUT_DIMS
        )
        return sum(output.sum() for output in outputs[:3])

    def _walked(self, fn, rows, shared, in_dims, out_dims):
        if self.size is None:
            return fn(*rows, *shared)
        walk = in_slices(self.size)
        return walk(fn, rows=rows, shared=shared, in_dims=in_dims, out_dims=out_dims)


def data_parallel(rank: int, folder: str) -> None:
    """Two steps of this rank; leaves gradients and counts in `folder`."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=WORLD
    )
    module = double(Twice(size=2))
    model = DistributedDataParallel(module)
    arrivals, reduced = [], []

    def reduce(state, bucket):  # DDP knows no annotation that is a string
        reduced.extend(id(parameter) for parameter in bucket.parameters())
        work = dist.all_reduce(bucket.buffer().div_(WORLD), async_op=True)
        return work.get_future().then(lambda future: future.value()[0])

    model.register_comm_hook(None, reduce)
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    for parameter in module.parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(lambda p: arrivals.append(names[id(p)]))
    counts = []
    for _ in range(2):
        model.zero_grad()
        arrivals.clear()
        reduced.clear()
        model(*mixed_inputs(7, seed=rank)).backward()
        counts.append((sorted(arrivals), sorted(names[key] for key in reduced)))
    gradients = {name: p.grad for name, p in module.named_parameters() if p.grad is not None}
    torch.save((gradients, counts), f"{folder}/{rank}.pt")
    dist.destroy_process_group()
