"""Bytes and errors of tensors kept in 8 bits, beside other ways to spend them.

    python benchmarks/codecs.py [--data DIR]

Bytes are those of the boundaries of AlphaFold 2's stacks, against bfloat16's. Errors are root mean
squares, relative to the row's, of rows of 256 numbers: normal ones, ones with longer tails, and
rows of which one channel in 64 is 30 times as large. `powers` of e4m3 are codes of |x|ᵏ: 1 is FP8
as it is usually scaled, 2 is what `Fp8` does; with a power of two as the scale, or any number.

With --data, a folder of proteins, also what codes of every boundary do to one step's gradients: the
network at full width with 4 Evoformer blocks and its losses, random weights without zeros, float32.
Ends with one line of JSON: {"kept_bytes_ratio": {SHAPE: {CODEC}}, "error": {CODEC: {NUMBERS}},
"gradients": {CODEC: {"cosine", "worst_cosine", "worst_module"}}}.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from plans import STACKS
from real_step import features
from torch import Tensor, nn

from sci_memeff import Plan, Rule, preset
from sci_memeff._types import Codec
from sci_memeff.checkpointing import Coded, in_segments
from sci_memeff.measure.table import in_columns
from sci_memeff.planning.gate import gate
from sci_memeff.precision.codecs import Fp8, Int8
from sci_memeff.training.setup import alphafold_setup

ROWS, CHANNELS = 5000, 256
SHAPES = {
    "m 516×384×256": (516, 384, 256),
    "z 384×384×128": (384, 384, 128),
    "extra 5120×384×64": (5120, 384, 64),
    "m 132×256×256": (132, 256, 256),
    "z 256×256×128": (256, 256, 128),
    "extra 1024×256×64": (1024, 256, 64),
}
CODECS: dict[str, Codec] = {
    "fp8": Fp8(),
    "fp8, 128": Fp8(128),
    "fp8, stochastic": Fp8(rounding="stochastic"),
    "int8": Int8(),
    "int8, 32": Int8(32),
    "int8, stochastic": Int8(rounding="stochastic"),
}


def numbers() -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(ROWS, CHANNELS, generator=g)
    tails = x / torch.randn(3, ROWS, CHANNELS, generator=g).square().mean(0).sqrt()  # Student's t3
    outliers = x * torch.where(torch.arange(CHANNELS) % 64 == 0, 30.0, 1.0)
    return {"normal": x, "long tails": tails, "large channels": outliers}


def in_powers(x: Tensor, power: float, group: int, *, exact: bool) -> Tensor:
    """There and back as e4m3 codes of |x|ᵏ, with a power of two or any number as the scale."""
    top = 448 ** (1 / power)
    parts = x.view(ROWS, -1, group)
    scales = parts.abs().amax(-1, keepdim=True) / top
    scales = scales if exact else scales.log2().ceil().exp2()
    codes = (parts.abs() / scales).clamp(max=top).pow(power).to(torch.float8_e4m3fn)
    return (codes.float().pow(1 / power) * scales * parts.sign()).view_as(x)


def ways() -> dict[str, Callable[[Tensor], Tensor]]:
    found: dict[str, Callable[[Tensor], Tensor]] = {
        name: lambda x, codec=codec: codec.decode(codec.encode(x)) for name, codec in CODECS.items()
    }
    for power in (1, 2, 3):
        for group in (32, 64, 128):
            for exact in (False, True):
                scale = "any scale" if exact else "powers of two"
                name = f"e4m3 of power {power}, {group}, {scale}"
                found[name] = partial(in_powers, power=power, group=group, exact=exact)
    return found


def error(found: Tensor, x: Tensor) -> float:
    return float(((found - x).norm(dim=1) / x.norm(dim=1)).mean())


def gradients(given: argparse.Namespace) -> dict[str, Any]:
    settings = preset("initial_training")
    data = replace(settings.data, max_msa_clusters=48, max_extra_msa=128)
    setup = alphafold_setup(replace(settings, data=data), crop=48, num_evoformer_blocks=4)
    batch = features(given, setup.settings)
    torch.manual_seed(0)
    model = setup.model()
    for p in model.parameters():
        if p.dim() == 2 and not p.any():
            nn.init.normal_(p, std=p.shape[1] ** -0.5)
    found = {}
    for name, codec in CODECS.items():
        use = in_segments(1, keep=Coded(codec, min_bytes=0))
        plan = Plan(rules=tuple(Rule(where=stack, seam="iterate", use=use) for stack in STACKS))
        told = gate(model, setup.step, batch, plan)
        found[name] = {
            "cosine": round(told.cosine, 6),
            "worst_cosine": round(told.worst.cosine, 5),
            "worst_module": told.worst.name,
        }
    return found


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, help="a folder of proteins, for gradients")
    parser.add_argument("--chain", default="7zzx_B", help="the protein")
    given = parser.parse_args(arguments)
    ratios = {
        told: {
            name: codec.bytes(shape, torch.bfloat16) / (2 * torch.Size(shape).numel())
            for name, codec in CODECS.items()
        }
        for told, shape in SHAPES.items()
    }
    rows = [(told, *(f"{r:.4f}" for r in row.values())) for told, row in ratios.items()]
    print(in_columns(("of bfloat16's bytes", *CODECS), rows) + "\n")
    samples = numbers()
    errors = {
        name: {kind: error(way(x), x) for kind, x in samples.items()}
        for name, way in ways().items()
    }
    rows = [(name, *(f"{e:.2%}" for e in row.values())) for name, row in errors.items()]
    print(in_columns(("error", *samples), rows))
    rounded = {n: {k: round(e, 5) for k, e in row.items()} for n, row in errors.items()}
    result: dict[str, Any] = {"kept_bytes_ratio": ratios, "error": rounded}
    if given.data is not None:
        result["gradients"] = gradients(given)
        told = [tuple(map(str, (name, *row.values()))) for name, row in result["gradients"].items()]
        print("\n" + in_columns(("gradients", "cosine", "worst module's", "which"), told))
    print(json.dumps(result, ensure_ascii=False))


if __name__ == "__main__":
    main(sys.argv[1:])
