"""What each recipe does to the gradients of a real protein, and to the bytes of boundaries.

    python benchmarks/recipes.py --data DIR [--recipes bf16 kept-fp8 …] [--crop 64] [--blocks 4]
        [--warm 10] [--plots DIR]

One training step of the full-width network with its losses, on features of a real chain, in every
recipe and in float32: the cosine between the two gradients, of all parameters together and of
every module. The weights are AlphaFold 2's first ones after some updates in float32 on that chain:
fresh ones have layers of zeros, behind which there are no gradients. `kept-fp8` and `kept-int8`
compute in float32 and keep the boundaries of recomputed blocks in 8 bits.
`kept_bytes_ratio` is what an Evoformer block's boundary takes at the fine-tuning
shape, m and z together, against bfloat16's.

Ends with one line of JSON: {RECIPE: {"gradient_cosine", "worst_module", "kept_bytes_ratio", …}}.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
from plans import STACKS
from real_step import features
from torch import nn

from sci_memeff import Plan, Rule, preset
from sci_memeff.checkpointing import Coded, in_segments
from sci_memeff.planning.gate import gate
from sci_memeff.precision import recipe_of
from sci_memeff.precision.codecs import CODECS
from sci_memeff.training.batch import Batch
from sci_memeff.training.setup import Setup, alphafold_setup

BOUNDARY = ((512, 384, 256), (384, 384, 128))  # m and z at the fine-tuning shape
SHORT = ((128, 256, 256), (256, 256, 128))  # at that of initial training
RECIPES = ("bf16", "bf16-pure", "kept-fp8", "kept-int8", "fp8")


def plan_of(name: str) -> Plan:
    """Of a recipe, or of boundaries in 8 bits, every one of them, small as they are here."""
    if not name.startswith("kept-"):
        return Plan(recipe=name)
    keep = Coded(codec=CODECS[name.removeprefix("kept-")](), min_bytes=0)
    rules = [Rule(where=stack, seam="iterate", use=in_segments(1, keep=keep)) for stack in STACKS]
    return Plan(rules=tuple(rules))


def kept_ratio(name: str, shapes: tuple[tuple[int, ...], ...]) -> float:
    """Of a boundary's bytes to bfloat16's."""
    numbers = sum(torch.Size(shape).numel() for shape in shapes)
    if name.startswith("kept-"):
        codec = CODECS[name.removeprefix("kept-")]()
        kept = sum(codec.bytes(shape, torch.bfloat16) for shape in shapes)
    else:
        kept = numbers * (2 if recipe_of(name).streams == "bfloat16" else 4)
    return kept / (2 * numbers)


def warmed(setup: Setup, batch: Batch, updates: int) -> nn.Module:
    """The network after so many updates."""
    torch.manual_seed(1)
    model = setup.model()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for k in range(updates):
        loss = setup.step(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        print(f"update {k + 1} of {updates}: loss {loss.item():.4f}", flush=True)
    return model


def main(arguments: list[str]) -> None:
    given = parsed(arguments)
    settings = preset("initial_training")
    data = replace(settings.data, max_msa_clusters=given.clusters, max_extra_msa=given.extra)
    setup = alphafold_setup(
        replace(settings, data=data), crop=given.crop, num_evoformer_blocks=given.blocks
    )
    batch = features(given, setup.settings)
    model = warmed(setup, batch, given.warm)
    result = {}
    for name in given.recipes:
        found = gate(model, setup.step, batch, plan_of(name))
        told = replace(found, name=name)
        print(f"{told}\n\n{told.table(None)}\n", flush=True)
        if given.plots is not None:
            given.plots.mkdir(parents=True, exist_ok=True)
            told.plot(given.plots / f"gate-{name}.svg")
        result[name] = {
            "gradient_cosine": round(found.cosine, 6),
            "median_cosine": round(found.median, 6),
            "worst_module": found.worst.name,
            "worst_cosine": round(found.worst.cosine, 5),
            "modules_below": len(found.below),
            "kept_bytes_ratio": round(kept_ratio(name, BOUNDARY), 4),
            "kept_bytes_ratio_initial": round(kept_ratio(name, SHORT), 4),
            "passed": found.passed,
        }
    print(json.dumps(result))


def parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=Path("data"), help="a folder of proteins")
    parser.add_argument("--chain", default="1ubq_A", help="the protein")
    parser.add_argument("--crop", type=int, default=64, help="residues")
    parser.add_argument("--clusters", type=int, default=64, help="MSA clusters")
    parser.add_argument("--extra", type=int, default=128, help="extra MSA rows")
    parser.add_argument("--blocks", type=int, default=4, help="Evoformer blocks")
    parser.add_argument("--warm", type=int, default=10, help="updates before the gates")
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=RECIPES)
    parser.add_argument("--plots", type=Path, help="a folder to draw the gates to")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
