"""Whether the loss must be scaled up for gradients in low precision: what a real step loses.

    python benchmarks/loss_scaling.py [--data DIR] [--crop 48] [--blocks 2] [--warm 5]

One training step of the full-width network with its losses, on a real chain, after a few updates
(the gradients of fresh weights are mostly zero). First, in float32: of all gradients that modules'
outputs and parameters get, the share of values, not zero, that a cast to a format makes zero, and
their share of the squared norm; "amax" formats are scaled first so that the largest magnitude, of a
tensor or of each row, is the format's largest number. Then, under every recipe: the step is taken
with the loss as it is and with 2^16 times it, and the gradients are compared after the factor is
taken out again. A power of two changes no digit, so where all bits are the same nothing under- or
overflowed on either way, and a scaled loss buys nothing.

Ends with one line of JSON: {"formats": {FORMAT: {"share", "norm_share"}}, "recipes": {RECIPE:
{"same_bits", "difference"}}}; "same_bits" is the share of gradient values that are equal to the
bit, "difference" the norm of the difference over the norm.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from real_step import features, loss_of
from torch import Tensor, nn

from sci_memeff import Plan, apply, preset, restore
from sci_memeff.planning.meter import tensors_in
from sci_memeff.precision import RECIPES
from sci_memeff.training.batch import Batch
from sci_memeff.training.setup import Setup, alphafold_setup

FACTOR = 2.0**16


def cast(dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """As it is."""
    return lambda x: x.to(dtype)


def by_amax(dtype: torch.dtype, *, rows: bool = False) -> Callable[[Tensor], Tensor]:
    """Scaled by the largest magnitude of the tensor, or of each row, as FP8 layers do."""
    largest = torch.finfo(dtype).max

    def scaled(x: Tensor) -> Tensor:
        amax = x.abs().amax(-1, keepdim=True) if rows and x.ndim else x.abs().amax()
        return (x / amax.clamp(min=1e-12) * largest).to(dtype)

    return scaled


FORMATS = {
    "bf16": cast(torch.bfloat16),
    "fp16": cast(torch.float16),
    "e5m2": cast(torch.float8_e5m2),
    "e5m2, amax of tensors": by_amax(torch.float8_e5m2),
    "e4m3": cast(torch.float8_e4m3fn),
    "e4m3, amax of tensors": by_amax(torch.float8_e4m3fn),
    "e4m3, amax of rows": by_amax(torch.float8_e4m3fn, rows=True),
}


class Lost:
    """What casts to each format make zero, of all gradients seen."""

    def __init__(self) -> None:
        self.values = 0
        self.square = 0.0
        self.lost = dict.fromkeys(FORMATS, 0)
        self.lost_square = dict.fromkeys(FORMATS, 0.0)

    def see(self, gradient: Tensor) -> None:
        found = gradient.detach().float()
        there = found != 0
        squares = found.double().square()
        self.values += int(there.sum())
        self.square += float(squares.sum())
        for name, form in FORMATS.items():
            gone = there & (form(found).float() == 0)
            self.lost[name] += int(gone.sum())
            self.lost_square[name] += float(squares[gone].sum())

    def shares(self) -> dict[str, dict[str, float]]:
        return {
            name: {
                "share": self.lost[name] / self.values,
                "norm_share": self.lost_square[name] / self.square,
            }
            for name in FORMATS
        }


@contextmanager
def watching(model: nn.Module, see: Callable[[Tensor], None]) -> Iterator[None]:
    """Show the gradients of all modules' outputs."""

    def after(_module: nn.Module, _args: Any, outputs: Any) -> None:
        for x in tensors_in(outputs):
            if x.requires_grad:
                x.register_hook(see)

    handles = [module.register_forward_hook(after) for module in model.modules()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def lost_in(setup: Setup, model: nn.Module, batch: Batch) -> Lost:
    """Of one step in float32."""
    lost = Lost()
    with watching(model, lost.see):
        loss_of(setup, model, batch).backward()
    for gradient in taken(model):
        if gradient is not None:
            lost.see(gradient)
    return lost


def taken(model: nn.Module) -> list[Tensor | None]:
    found = [p.grad for p in model.parameters()]
    model.zero_grad(set_to_none=True)
    return found


def scaled_apart(setup: Setup, model: nn.Module, batch: Batch) -> dict[str, float]:
    """How far the gradients of a scaled loss are from those of the loss."""
    gradients = []
    for factor in (1.0, FACTOR):
        (loss_of(setup, model, batch) * factor).backward()
        gradients.append([None if g is None else g / factor for g in taken(model)])
    pairs = [(a, b) for a, b in zip(*gradients, strict=True) if a is not None and b is not None]
    same = sum(int((a == b).sum()) for a, b in pairs)
    apart = sum(float((a - b).double().square().sum()) for a, b in pairs)
    whole = sum(float(a.double().square().sum()) for a, _ in pairs)
    return {
        "same_bits": same / sum(a.numel() for a, _ in pairs),
        "difference": (apart / whole) ** 0.5,
    }


def warmed(setup: Setup, batch: Batch, updates: int) -> nn.Module:
    torch.manual_seed(1)
    model = setup.model()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(updates):
        setup.step(model, batch).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return model


def main(arguments: list[str]) -> None:
    given = parsed(arguments)
    settings = preset("initial_training")
    data = replace(settings.data, max_msa_clusters=given.clusters, max_extra_msa=given.extra)
    settings = replace(settings, data=data)
    setup = alphafold_setup(settings, crop=given.crop, num_evoformer_blocks=given.blocks)
    batch = features(given, setup.settings)
    model = warmed(setup, batch, given.warm)
    lost = lost_in(setup, model, batch)
    print(f"{lost.values:,} gradient values that are not zero\n")
    print(f"{'made zero by a cast to':26} {'share of values':>16} {'of squared norm':>16}")
    formats = lost.shares()
    for name, row in formats.items():
        print(f"{name:26} {row['share']:16.3e} {row['norm_share']:16.3e}")
    print(f"\n{'loss times 2^16 under':26} {'the same bits':>16} {'difference':>16}")
    recipes = {}
    for name in given.recipes:
        found = recipes[name] = scaled_apart(setup, apply(model, Plan(recipe=name)), batch)
        print(f"{name:26} {found['same_bits']:16.6f} {found['difference']:16.3e}", flush=True)
        restore(model)
    print(json.dumps({"formats": formats, "recipes": recipes}))


def parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=Path("data"), help="a folder of proteins")
    parser.add_argument("--chain", default="1ubq_A", help="the protein")
    parser.add_argument("--crop", type=int, default=48, help="residues")
    parser.add_argument("--clusters", type=int, default=32, help="MSA clusters")
    parser.add_argument("--extra", type=int, default=64, help="extra MSA rows")
    parser.add_argument("--blocks", type=int, default=2, help="Evoformer blocks")
    parser.add_argument("--warm", type=int, default=5, help="updates before")
    parser.add_argument("--recipes", nargs="*", choices=tuple(RECIPES), default=tuple(RECIPES))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
