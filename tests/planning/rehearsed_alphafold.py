"""A small AlphaFold's step under several plans: rehearsed and simulated, as one line of JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import torch

from sci_memeff import Plan, Rule, apply, preset, simulate
from sci_memeff.checkpointing import Host, in_segments
from sci_memeff.chunking import in_slices
from sci_memeff.kernels import attend
from sci_memeff.planning.rehearsal import Rehearsal
from sci_memeff.training.setup import alphafold_setup


def everything_in(rows: int) -> tuple[Rule, ...]:
    return (
        Rule(where="*", seam="walk", use=in_slices(rows)),
        Rule(where="*.tri_mul_*", seam="walk", use=in_slices(rows, recompute_shared=True)),
        Rule(where="*.mha", seam="attend", use=attend("streaming")),
    )


def stacks(use: Any) -> tuple[Rule, ...]:
    return tuple(
        Rule(where=where, seam="iterate", use=use) for where in ("*evoformer", "*extra_msa_stack")
    )


ALL = (*everything_in(8), *stacks(in_segments(2, keep=Host(ahead=False))))
ALPHAFOLD = {
    "plain": Plan(),
    "some left": Plan(rules=stacks(in_segments(1, leave=1))),
    "two levels": Plan(rules=stacks(in_segments(3, inner=in_segments(1)))),
    "all": Plan(rules=ALL),
    "all in bf16": Plan(rules=ALL, recipe="bf16"),
    "pure bf16": Plan(recipe="bf16-pure"),
    "all in fp8": Plan(rules=ALL, recipe="fp8"),
}


def main() -> None:
    small = preset("demo")
    model = replace(small.model, num_evoformer_blocks=3, num_extra_msa_blocks=2)
    setup = alphafold_setup(replace(small, model=model), crop=24, passes=2)
    step, batch = setup.step, setup.batch
    rehearsal = Rehearsal(setup.model, step, batch, seconds_of=lambda *_: 0.0)
    rehearsal.keep_apart({})
    found = {}
    for name, plan in ALPHAFOLD.items():
        one = rehearsal.under(plan)
        planned = apply(setup.model(), plan)
        whole = simulate(planned, step, batch, device="cpu")
        found[name] = {
            "rehearsed": one.peak,
            "simulated": whole.peaks[torch.device("cpu")],
            "rehearsed_flops": one.cost.flops,
            "simulated_flops": whole.flops,
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
