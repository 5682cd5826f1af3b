"""Live bytes of AlphaFold 2's whole training step, simulated: model, losses, Adam and EMA.

    python benchmarks/step.py --preset finetuning [--offload host] [--codec fp8] [--optimizer …] …

Two updates are simulated, since Adam's states are there from the second on, on features of the
preset's sizes. FLOPs are against those of the plain network with one
checkpoint around every block. Ends with one line of JSON: {"peak_bytes", "states_bytes",
"flops_ratio"}. The peak has everything in it: states (parameters, gradients, the optimizer's),
features and what the step makes.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from typing import get_args

import torch
from plans import DECREASING, a_checkpoint_a_block, lengths_for, whole_network

from sci_memeff import RECIPES, Plan, apply, preset, simulate
from sci_memeff.checkpointing import Coded, Device, Host, Store
from sci_memeff.measure import Measured
from sci_memeff.precision.codecs import CODECS
from sci_memeff.training.config import OptimizerKind
from sci_memeff.training.setup import Setup, alphafold_setup

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def simulated(setup: Setup, plan: Plan) -> Measured:
    return simulate(
        lambda: apply(setup.model(), plan),
        setup.step,
        setup.batch,
        optimizer=setup.optimizer,
        updates=2,
        device="cpu",
    )


def main(arguments: list[str]) -> None:
    given = parsed(arguments)
    settings = preset(given.preset)
    setup = alphafold_setup(
        replace(settings, optimizer=replace(settings.optimizer, kind=given.optimizer)),
        dtype=torch.float32 if given.recipe else DTYPES[given.dtype],
        crop=given.crop,
        num_evoformer_blocks=given.blocks,
        passes=given.passes,
    )
    keep: Store = Host() if given.offload == "host" else Device()
    keep = Coded(CODECS[given.codec](), keep) if given.codec else keep
    lengths = tuple(given.lengths) if given.lengths else lengths_for(keep)
    plan = whole_network(given.rows, lengths, keep, two_levels=given.two_levels)
    plan = replace(plan, recipe=given.recipe)
    ours = simulated(setup, plan)
    print(ours)
    kinds = ours.by_kind
    states = sum(kinds[kind].highest for kind in ("parameters", "gradients", "optimizer"))
    result: dict[str, float] = {
        "peak_bytes": ours.peaks[torch.device("cpu")],
        "states_bytes": states,
    }
    if not given.no_flops:
        once = simulated(setup, replace(a_checkpoint_a_block(), recipe=given.recipe))
        print(f"\na checkpoint a block: {once.peak / 2**30:.2f} GiB, {once.flops:.4g} FLOP")
        result["flops_ratio"] = round(ours.flops / once.flops, 4)
    print(json.dumps(result))


def parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--preset", choices=("initial_training", "finetuning"), default="finetuning"
    )
    parser.add_argument("--offload", choices=("host",), help="where boundaries live, if not here")
    parser.add_argument("--codec", choices=CODECS, help="boundaries in 8 bits")
    parser.add_argument("--crop", type=int, help="residues, if not the preset's")
    parser.add_argument("--blocks", type=int, default=48, help="Evoformer blocks")
    parser.add_argument("--passes", type=int, default=1, help="recycling passes, the last included")
    parser.add_argument(
        "--dtype", choices=DTYPES, default="bf16", help="of weights and activations"
    )
    parser.add_argument(
        "--recipe", choices=RECIPES, help="what modules compute in, of weights in fp32"
    )
    parser.add_argument(
        "--optimizer", choices=get_args(OptimizerKind), default="adam", help="how moments are kept"
    )
    parser.add_argument("--rows", type=int, default=32, help="rows of a slice")
    parser.add_argument(
        "--lengths",
        type=int,
        nargs="+",
        help=f"blocks recomputed at a time, in order; {DECREASING}, shorter with --codec, or 1 "
        "with --offload",
    )
    parser.add_argument("--two-levels", action="store_true", help="recompute single blocks as well")
    parser.add_argument("--no-flops", action="store_true", help="leave out the network to compare")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
