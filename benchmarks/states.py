"""What AlphaFold 2's parameters, gradients, Adam and averages take, and what an update adds.

    python benchmarks/states.py [--kinds | --real]

Simulated: two updates of all parameters, whose gradients come out of a loss that costs nothing.
With --kinds instead what fp32 parameters come to with every kind of optimizer, on the meta device:
bytes of moments per parameter, bytes at rest (weights, moments, averages) and with gradients, and
what an update adds to them. The host's share of "offloaded" is not in these.
With --real the update of fp32 parameters is timed against torch's Adam and average, in turn,
the median of five; it takes 4 GB. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from statistics import median
from typing import get_args

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.optim.swa_utils import get_ema_multi_avg_fn

import sci_memeff
from sci_memeff.alphafold.config import model_config
from sci_memeff.alphafold.model import AlphaFold
from sci_memeff.planning.states import learn_states
from sci_memeff.training.config import OptimizerConfig, OptimizerKind
from sci_memeff.training.states import AVERAGE, AdamWithAverage

HELD = OptimizerConfig()
RELEASED = OptimizerConfig(release_gradients=True, clip_norm=None, batch_size=1)
ROUNDS = 5


class TorchAdam(torch.optim.Adam):
    """torch's Adam, one parameter after the other or all at once, and then torch's average."""

    def __init__(self, model: nn.Module, *, foreach: bool) -> None:
        super().__init__(model.parameters(), lr=HELD.learning_rate, eps=HELD.eps, foreach=foreach)
        self.weights = [p.detach() for p in model.parameters()]
        self.averages = [weight.clone() for weight in self.weights]
        self.follow = get_ema_multi_avg_fn(HELD.ema_decay)

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update, and follow."""
        loss = super().step(closure)
        self.follow(self.averages, self.weights, 0)
        return loss


def network(dtype: torch.dtype) -> nn.Module:
    with torch.device("meta"):
        return AlphaFold(model_config("model_1_ptm")).to(dtype)


def loss(model: nn.Module, _: Tensor) -> Tensor:
    return torch.stack([p.sum() for p in model.parameters()]).sum()


def simulated(
    optimizer: Callable[[nn.Module], torch.optim.Optimizer], dtype: torch.dtype
) -> dict[str, int]:
    """Bytes: the most there are, those between two updates, and what an update adds to states."""
    measured = sci_memeff.simulate(
        network(dtype), loss, torch.zeros(1), optimizer=optimizer, updates=2
    )
    phases = measured.by_phase
    with_gradients = phases["backward"].left
    update = phases["optimizer"].peak if "optimizer" in phases else with_gradients
    return {
        "peak_bytes": measured.peak,
        "at_rest_bytes": phases["forward"].left,
        "update_adds_bytes": update - with_gradients,
    }


def of_kinds() -> dict[str, dict[str, float]]:
    """Of fp32 parameters, with every kind of optimizer."""
    model = network(torch.float32)
    num = sum(p.numel() for p in model.parameters())
    found: dict[str, dict[str, float]] = {}
    for kind in get_args(OptimizerKind):
        config = replace(HELD, kind=kind)
        optimizer = AdamWithAverage(model, config)
        states = [optimizer.states_of(p) for p in model.parameters()]
        moments = sum(x.nbytes for s in states for name, x in s.items() if name != AVERAGE)
        kept, added = moments + 4 * num, 0
        if kind == "offloaded":
            moments = kept = 0
        else:
            make = partial(AdamWithAverage, config=config)
            _, kept, added = learn_states(make, model, model, FakeTensorMode())
        found[kind] = {
            "moments_per_parameter": round(moments / num, 3),
            "at_rest_bytes": 4 * num + kept,
            "with_gradients_bytes": 8 * num + kept,
            "update_adds_bytes": added,
        }
        print(f"{kind:12} " + " ".join(f"{value:15,}" for value in found[kind].values()))
    return found


def timed() -> dict[str, float]:
    """Seconds per update: ours and torch's, in turn."""
    shapes = [p.shape for p in network(torch.float32).parameters()]
    models = [nn.ParameterList([torch.randn(shape) for shape in shapes]) for _ in range(2)]
    optimizers = {
        "ours_s": AdamWithAverage(models[0], HELD),
        "torch_s": TorchAdam(models[1], foreach=False),
    }
    taken: dict[str, list[float]] = {name: [] for name in optimizers}
    for _ in range(1 + ROUNDS):
        for (name, optimizer), model in zip(optimizers.items(), models, strict=True):
            for p in model.parameters():
                p.grad = torch.full_like(p, 1e-3)
            began = time.perf_counter()
            optimizer.step()
            taken[name].append(time.perf_counter() - began)
            optimizer.zero_grad()
    return {name: round(median(seconds[1:]), 3) for name, seconds in taken.items()}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--real", action="store_true", help="time an update too")
    parser.add_argument("--kinds", action="store_true", help="of every kind of optimizer")
    options = parser.parse_args(arguments)
    if options.kinds:
        print(json.dumps(of_kinds()))
        return
    rows: dict[str, dict[str, int]] = {
        "fp32": simulated(lambda m: AdamWithAverage(m, HELD), torch.float32),
        "fp32, released": simulated(lambda m: AdamWithAverage(m, RELEASED), torch.float32),
        "bf16": simulated(lambda m: AdamWithAverage(m, HELD), torch.bfloat16),
        "bf16, released": simulated(lambda m: AdamWithAverage(m, RELEASED), torch.bfloat16),
        "torch, fp32": simulated(lambda m: TorchAdam(m, foreach=False), torch.float32),
        "torch, fp32, foreach": simulated(lambda m: TorchAdam(m, foreach=True), torch.float32),
    }
    print(f"{'bytes':22} {'peak':>15} {'at rest':>15} {'update adds':>15}")
    for name, row in rows.items():
        print(f"{name:22} " + " ".join(f"{value:15,}" for value in row.values()))
    print(json.dumps(rows | ({"update": timed()} if options.real else {})))


if __name__ == "__main__":
    main(sys.argv[1:])
