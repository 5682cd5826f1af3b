"""Plans for AlphaFold 2's presets: what is predicted of them, against the whole simulation.

    python benchmarks/plan.py --preset finetuning --budgets 40GiB 6GiB 4GiB [--whole]

For each budget the plan is made, put into a new model and simulated without the planner: every
block, every pass, Adam's states. Walks take their first, second and last slices, which need what
all of them need; with --whole they take all, which takes minutes more. Ends with one line of JSON:
{"seconds", "budgets": {budget: {"predicted_peak_bytes", "simulated_peak_bytes", "ratio",
"flops_ratio"}}}.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import nullcontext

import torch

from sci_memeff import apply, preset, simulate
from sci_memeff.chunking.slices import abridged
from sci_memeff.planning import plan
from sci_memeff.training.setup import alphafold_setup

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def main(arguments: list[str]) -> None:
    given = parsed(arguments)
    setup = alphafold_setup(
        preset(given.preset),
        dtype=DTYPES[given.dtype],
        crop=given.crop,
        num_evoformer_blocks=given.blocks,
        passes=given.passes,
    )
    result: dict[str, dict[str, float]] = {}
    seconds = 0.0
    for budget in given.budgets:
        began = time.perf_counter()
        found = plan(setup.model, setup.step, setup.batch, budget=budget, optimizer=setup.optimizer)
        seconds = max(seconds, time.perf_counter() - began)
        print(f"{found}\n", flush=True)
        with nullcontext() if given.whole else abridged(lambda _: nullcontext()):
            whole = simulate(
                lambda p=found: apply(setup.model(), p),
                setup.step,
                setup.batch,
                optimizer=setup.optimizer,
                updates=2,
                device="cpu",
            )
        told = found.prediction
        assert told is not None
        peak = whole.peaks[torch.device("cpu")]
        result[budget] = {
            "predicted_peak_bytes": told.peak_bytes,
            "simulated_peak_bytes": peak,
            "ratio": round(told.peak_bytes / peak, 5),
            "flops_ratio": round(told.flops_ratio, 4),
        }
        print(f"{budget}: {result[budget]}\n", flush=True)
    print(json.dumps({"seconds": round(seconds, 1), "budgets": result}))


def parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--preset", choices=("demo", "initial_training", "finetuning"), default="finetuning"
    )
    parser.add_argument("--budgets", nargs="+", default=["40GiB", "6GiB", "4GiB"])
    parser.add_argument("--dtype", choices=DTYPES, default="bf16")
    parser.add_argument("--crop", type=int, help="residues, if not the preset's")
    parser.add_argument("--blocks", type=int, help="Evoformer blocks, if not the preset's")
    parser.add_argument("--passes", type=int, default=1, help="recycling passes")
    parser.add_argument("--whole", action="store_true", help="simulate every slice")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
