"""Which layers of AlphaFold to compute in FP8, and with which scales: accuracy against share.

    python benchmarks/float8.py --data DIR [--crop 48] [--blocks 4] [--updates 40]
    python benchmarks/float8.py --data DIR --ranges docs/ranges.png [--watched 10]

A network of full width is trained for some updates in fp32 on a real protein, since the gradients
of fresh weights are mostly zero. Then the gradient of one step is compared with fp32's under the
recipe bf16, with FP8 in its linear layers whose widths are all at least 64, 128 or 256, with each
kind of scale: the cosine of the whole gradient, and of each module's own parameters. Beside it
stands which share of all FLOPs of the whole step these layers are, simulated at the sizes of
initial training and of fine-tuning.

Ends with one line of JSON: {"shares": {WIDTH: [initial, fine-tuning]}, CASE: {"gradient_cosine",
"median", "below", "below_share", "worst_module", "worst"}}; `below` counts modules whose cosine is
less than 0.99, and `below_share` is their part of the gradient's squared norm.

With --random, every weight is drawn at random instead, gates and last layers too: a network that
multiplies any error, and that no training leads to.

With --ranges, training goes on under the recipe fp8 instead, the largest magnitudes of what its
layers multiply are logged, printed together, and drawn: {KIND: {"least", "greatest", "widest"}}.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import torch
from real_step import features, loss_of
from torch import Tensor, nn

from sci_memeff import Plan, Rule, apply, describe, preset, restore, simulate
from sci_memeff.precision import Computed, Ranges, watch_ranges
from sci_memeff.precision.float8 import Float8
from sci_memeff.precision.gains import misshapen
from sci_memeff.precision.ranges import Kind
from sci_memeff.training.setup import Setup, alphafold_setup

SCALINGS = ("tensorwise", "rowwise", "rowwise_with_gw_hp")
WIDTHS = (64, 128, 256)
BAR = 0.99
SHOWN = 8  # modules below it
NEGLIGIBLE = 1e-9  # of the gradient's norm: a module's that is less is zero but for rounding


def wide(model: nn.Module, width: int) -> list[str]:
    """The linear layers that compute in bf16 under its recipe, and are at least that wide."""
    seams = describe(apply(model, Plan(recipe="bf16")))
    restore(model)
    return [
        name
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear)
        and misshapen(layer) is None
        and isinstance(use := seams[name]["precision"], Computed)
        and use.inputs == "bfloat16"
        and min(layer.in_features, layer.out_features) >= width
    ]


def shares() -> dict[int, list[float]]:
    """Of the layers of each width, in all FLOPs of the whole step, forward and backward."""
    found: dict[int, list[float]] = {width: [] for width in WIDTHS}
    for name in ("initial_training", "finetuning"):
        setup = alphafold_setup(preset(name), passes=1)
        with torch.device("meta"):
            model = setup.model()
        flops = simulate(setup.model, setup.step, setup.batch).by_module()
        total = sum(part.flops for part in flops.values())
        for width in WIDTHS:
            some = sum(flops[name].flops for name in wide(model, width) if name in flops)
            found[width].append(round(some / total, 3))
    return found


def trained(setup: Setup, model: nn.Module, batch: Any, updates: int) -> nn.Module:
    """By Adam, at AlphaFold's learning rate after a short warm-up."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for k in range(updates):
        optimizer.param_groups[0]["lr"] = 1e-3 * min(1.0, (k + 1) / 10)
        optimizer.zero_grad()
        loss_of(setup, model, batch).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model


def gradients(setup: Setup, model: nn.Module, batch: Any, plan: Plan) -> dict[str, Tensor]:
    """By parameter, those that there are."""
    model.zero_grad(set_to_none=True)
    loss_of(setup, apply(model, plan), batch).backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def cosine(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], names: list[str]) -> float:
    pairs = [(found[name].double(), wanted[name].double()) for name in names]
    across = sum(float((a * b).sum()) for a, b in pairs)
    norms = [sum(float(x.square().sum()) for x in side) for side in zip(*pairs, strict=True)]
    return across / (norms[0] * norms[1]) ** 0.5 if all(norms) else 0.0


def compared(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Any]:
    """The whole gradient, and each module's own parameters'."""
    modules: dict[str, list[str]] = {}
    for name in wanted:
        modules.setdefault(name.rpartition(".")[0], []).append(name)
    squares = {
        module: sum(float(wanted[name].double().square().sum()) for name in names)
        for module, names in modules.items()
    }
    total = sum(squares.values())
    each = {
        module: cosine(found, wanted, names)
        for module, names in modules.items()
        if squares[module] > NEGLIGIBLE**2 * total
    }
    below = sorted((value, module) for module, value in each.items() if value < BAR)
    for value, module in below[:SHOWN]:
        print(f"    {value:.4f}  {module}, {squares[module] / total:.1e} of the squared norm")
    worst = min(each, key=lambda module: each[module])
    return {
        "gradient_cosine": round(cosine(found, wanted, list(wanted)), 5),
        "median": round(statistics.median(each.values()), 5),
        "below": len(below),
        "below_share": float(f"{sum(squares[module] for _, module in below) / total:.1e}"),
        "modules": len(each),
        "worst_module": worst,
        "worst": round(each[worst], 4),
    }


def told(ranges: Ranges) -> dict[str, dict[str, float]]:
    """Of all layers: the least and the greatest amax above zero, and the bits between rows."""
    print(ranges)
    found: dict[str, dict[str, float]] = {}
    for kind in get_args(Kind):
        some = [each for (_, what), each in ranges.found.items() if what == kind]
        found[kind] = {
            "least": 2.0 ** min(ranges.together(kind)[0]),
            "greatest": max(each.largest for each in some),
            "widest": round(max(each.widest for each in some), 1),
        }
    return found


def main(arguments: list[str]) -> None:
    given = parsed(arguments)
    settings = preset("initial_training")
    data = replace(settings.data, max_msa_clusters=given.clusters, max_extra_msa=given.extra)
    setup = alphafold_setup(
        replace(settings, data=data),
        crop=given.crop,
        num_evoformer_blocks=given.blocks,
        passes=1,
    )
    batch = features(given, setup.settings)
    torch.manual_seed(0)
    fresh = setup.real_model() if given.random else setup.model()
    model = fresh if given.random else trained(setup, fresh, batch, given.updates)
    if given.ranges is not None:
        apply(model, Plan(recipe="fp8"))
        with watch_ranges(model) as ranges:
            trained(setup, model, batch, given.watched)
        ranges.plot(given.ranges)
        print(json.dumps(told(ranges)))
        return
    wanted = gradients(setup, model, batch, Plan())
    result: dict[str, Any] = {"shares": {} if given.no_shares else shares()}
    cases: dict[str, tuple[Rule, ...]] = {"bf16": ()}
    for width in WIDTHS:
        for scaling in SCALINGS:
            cases[f"{scaling}, {width}"] = tuple(
                Rule(where=name, seam="precision", use=Float8(scaling))
                for name in wide(model, width)
            )
    for case, rules in cases.items():
        plan = Plan(recipe="bf16", rules=rules)
        result[case] = compared(gradients(setup, model, batch, plan), wanted)
        print(f"{case:24} {len(rules):4} layers  {result[case]}", flush=True)
    print(json.dumps(result))


def parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="a folder of proteins")
    parser.add_argument("--chain", default="7zzx_B", help="the protein")
    parser.add_argument("--crop", type=int, default=48, help="residues")
    parser.add_argument("--clusters", type=int, default=32, help="rows of the MSA")
    parser.add_argument("--extra", type=int, default=64, help="extra rows")
    parser.add_argument("--blocks", type=int, default=4, help="Evoformer blocks")
    parser.add_argument("--updates", type=int, default=40, help="before the gradients are compared")
    parser.add_argument("--ranges", type=Path, help="draw the ranges of a run there, instead")
    parser.add_argument("--watched", type=int, default=10, help="updates that are watched")
    parser.add_argument("--random", action="store_true", help="random weights, and no updates")
    parser.add_argument("--no-shares", action="store_true", help="leave out the simulations")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
