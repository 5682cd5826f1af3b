"""A real training step of the whole AlphaFold 2 on a real protein, within few bytes.

    MALLOC_MMAP_THRESHOLD_=1048576 python benchmarks/real_step.py --data DIR [--crop 256] ...
    python benchmarks/real_step.py --data DIR --crop 32 --compare

Forward, losses, backward and one update (Adam and averaged weights) of 48 blocks at the sizes of
initial training. Told are the live bytes, counted, and the process's resident ones, as the kernel
saw them; the variable keeps the C library from holding on to freed memory, which is otherwise what
the resident bytes show. Ends with one line of JSON: {"loss", "peak_bytes", "resident_bytes",
"seconds"}.

With --compare, at a crop where the plain network still fits, the losses and all gradients of both
are compared instead, in fp32: {"loss", "loss_difference", "worst_gradient_difference"}.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from plans import DECREASING, whole_network
from torch import Tensor, nn

from sci_memeff import (
    DataFolder,
    Plan,
    Preset,
    TrainingData,
    apply,
    make_batch,
    measure,
    preset,
)
from sci_memeff.checkpointing import Device
from sci_memeff.data.example import Example
from sci_memeff.training.batch import Batch
from sci_memeff.training.setup import Setup, alphafold_setup

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def features(given: argparse.Namespace, settings: Preset) -> Batch:
    """The chain's, at the preset's sizes but for the crop; one pass."""
    data = replace(settings.data, fixed_size=True, max_recycling=0, distillation_probability=0.0)
    folder = TrainingData(DataFolder(given.data), data)
    for k in range(1000):
        found = folder[k]
        if isinstance(found, Example) and found.name == given.chain:
            return make_batch([found])
    raise SystemExit(f"none of 1000 samples of {given.data} was {given.chain}")


def loss_of(setup: Setup, model: nn.Module, batch: Batch) -> Tensor:
    """With dropout, the same at every call."""
    torch.manual_seed(0)
    return setup.step(model, batch)


def differences(setup: Setup, model: nn.Module, plan: Plan, batch: Batch) -> dict[str, float]:
    """Of the planned network's loss and gradients from the plain one's, relative."""
    found = []
    for put in (plan, Plan()):
        value = loss_of(setup, apply(model, put), batch)
        value.backward()
        found.append((value.item(), [p.grad for p in model.parameters()]))
        model.zero_grad(set_to_none=True)
    (ours, our_grads), (plain, plain_grads) = found
    pairs = [(a, b) for a, b in zip(our_grads, plain_grads, strict=True) if b is not None]
    norm = torch.nn.utils.get_total_norm([b for _, b in pairs])
    worst = max(float("inf") if a is None else float((a - b).norm() / norm) for a, b in pairs)
    difference = abs(ours - plain) / abs(plain)
    return {"loss": plain, "loss_difference": difference, "worst_gradient_difference": worst}


def resident() -> int:
    """The most bytes that the process has had in memory so far."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(arguments: list[str]) -> None:
    given = parsed(arguments)
    setup = alphafold_setup(
        preset("initial_training"),
        dtype=torch.float32 if given.compare else DTYPES[given.dtype],
        crop=given.crop,
        num_evoformer_blocks=given.blocks,
    )
    plan = whole_network(given.rows, tuple(given.lengths), Device())
    torch.manual_seed(1)
    model, batch = setup.model(), features(given, setup.settings)
    if given.compare:
        result = differences(setup, model, plan, batch)
    else:
        result = one_step(setup, apply(model, plan), batch)
    print(json.dumps(result))


def one_step(setup: Setup, model: nn.Module, batch: Batch) -> dict[str, float]:
    """The step, with what it took."""
    optimizer = setup.optimizer(model)
    before, start = resident(), time.perf_counter()
    with measure(model) as bytes_:
        value = loss_of(setup, model, batch)
        value.backward()
        optimizer.step()
    seconds = time.perf_counter() - start
    print(bytes_)
    print(f"\nresident before the step {before / 2**30:.2f} GiB, at most {resident() / 2**30:.2f}")
    return {
        "loss": value.item(),
        "peak_bytes": bytes_.peak,
        "resident_bytes": resident(),
        "seconds": round(seconds, 1),
    }


def parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="a folder of proteins")
    parser.add_argument("--chain", default="7zzx_B", help="the protein")
    parser.add_argument("--crop", type=int, default=256, help="residues")
    parser.add_argument("--compare", action="store_true", help="with the plain network, instead")
    parser.add_argument("--blocks", type=int, default=48, help="Evoformer blocks")
    parser.add_argument(
        "--dtype", choices=DTYPES, default="fp32", help="of weights and activations"
    )
    parser.add_argument("--rows", type=int, default=32, help="rows of a slice")
    parser.add_argument(
        "--lengths", type=int, nargs="+", default=DECREASING, help="blocks recomputed at a time"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
