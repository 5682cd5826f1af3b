"""Other people's models, plain and planned: peak, FLOPs, and the gradients' worst difference.

    python benchmarks/foreign.py openfold3|boltz|aurora|mace [--budget 8GiB | --by-hand]
        [--small] [--lean] [--table]

Simulates a training step of the package's own modules, with random weights: plain, under the
package's own checkpointing, and under the plan that the planner makes for a budget. Then runs a
small one for real in float64, plain and planned, and compares loss and every gradient. `--small`
simulates the small one, too.

Ends with one line of JSON: {"plain_peak_bytes", "planned_peak_bytes", "predicted_peak_bytes",
"flops_ratio", "worst_gradient_error"}. Plain is without any checkpointing, except for aurora, which
is not trained without; `flops_ratio` is always against no checkpointing.
The packages: `make foreign` installs them, see docs/foreign.md.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from foreign_models.case import Case
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from sci_memeff import Plan, apply, simulate
from sci_memeff.measure import Measured

NAMES = ("openfold3", "boltz", "aurora", "mace")
BUDGETS = {"openfold3": "4.5GiB", "boltz": "13GiB", "aurora": "48GiB", "mace": "3GiB"}
WITH_OWN = ("openfold3", "boltz", "aurora")  # packages that have a checkpointing of their own


def simulated(case: Case, plan: Plan) -> Measured:
    """A step of the model under `plan`; `case` keeps its own model as it is."""
    given = case.model
    model = (
        apply(copy.deepcopy(given), plan)
        if isinstance(given, nn.Module)
        else lambda: apply(given(), plan)
    )
    with case.around():
        return simulate(
            model, case.step, case.batch, optimizer=case.optimizer, updates=case.updates
        )


def part_of(plain: Measured) -> str:
    """A budget that a small step cannot meet without doing something."""
    return str(int(0.7 * plain.peak))


def planned_for(case: Case, budget: str) -> Plan:
    plan = import_module("sci_memeff.planning").plan
    with case.around():
        return plan(case.model, case.step, case.batch, budget=budget, optimizer=case.optimizer)


def answer(case: Case, plan: Plan) -> dict[str, Tensor]:
    """The loss and every gradient of a real step, by name."""
    assert isinstance(case.model, nn.Module)
    model = apply(copy.deepcopy(case.model), plan)
    batch = copy.deepcopy(case.batch)
    torch.manual_seed(1)  # for dropout
    with case.around():
        loss = case.step(model, batch)
        loss.backward()
    found = {"loss": loss.detach()}
    found |= {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    inputs = [x for x in tree_leaves(batch) if isinstance(x, Tensor) and x.requires_grad]
    found |= {f"input {i}": x.grad for i, x in enumerate(inputs) if x.grad is not None}
    return found


def worst_difference(case: Case, plan: Plan) -> tuple[float, str, int]:
    """Of all gradients, and of the loss: the largest, whose it is, and how many were compared.

    Each is relative to its largest element, or to a millionth of the largest of all: some vanish
    but for rounding, such as a shift of all logits.
    """
    plain, planned = answer(case, Plan()), answer(case, plan)
    if plain.keys() != planned.keys():
        raise SystemExit(f"only one of both has gradients of {plain.keys() ^ planned.keys()}")
    least = 1e-6 * max(float(x.abs().max()) for x in plain.values())
    errors = {
        name: float((planned[name] - x).abs().max()) / max(float(x.abs().max()), least)
        for name, x in plain.items()
    }
    worst = max(errors, key=lambda name: errors[name])
    return errors[worst], worst, len(errors)


def row(name: str, measured: Measured, plain: Measured) -> str:
    return (
        f"{name:24} {measured.peak / 2**30:9.2f} GiB  {measured.flops / 1e12:9.2f} TFLOP"
        f"  {plain.peak / measured.peak:6.2f} × less  {measured.flops / plain.flops:5.2f} × FLOPs"
    )


def main(arguments: list[str]) -> None:
    given = parsed(arguments)
    builders = import_module(f"foreign_models.{given.model}")
    warnings.simplefilter("ignore")
    small = builders.small()
    # of CUDA's autocast, which is asked for to be turned off; the packages set filters themselves
    warnings.simplefilter("ignore")
    case = small if given.small else builders.bar()
    plain = simulated(case, Plan())
    budget = given.budget or BUDGETS[given.model]
    if given.small and not given.budget:
        budget = part_of(plain)
    plan = case.by_hand if given.by_hand else planned_for(case, budget)
    print(case.title)
    print(row("plain", plain, plain))
    own = None
    if given.model in WITH_OWN and not given.small:
        own = simulated(builders.bar(own=True), Plan())
        print(row("its own checkpointing", own, plain))
    planned = simulated(case, plan)
    print(row("planned", planned, plain))
    if case.lean and given.lean:
        lean = simulated(case, case.lean)
        print(row("lean", lean, plain))
        if own:
            less, flops = own.peak / lean.peak, lean.flops / own.flops
            print(f"  against its own checkpointing: {less:.2f} × less, {flops:.2f} × FLOPs")
    print(f"\n{plan}\n")
    print(f"{planned}\n" if given.table else "")
    followed = small.by_hand
    if not given.by_hand:
        followed = planned_for(small, part_of(simulated(small, Plan())))
    error, worst, count = worst_difference(small, followed)
    print(f"for real, {small.title}: {count} gradients differ by {error:.1e} at most, {worst}")
    predicted = plan.prediction.peak_bytes if plan.prediction else None
    found = result(given.model, plain, own, planned)
    print(json.dumps({**found, "predicted_peak_bytes": predicted, "worst_gradient_error": error}))


def result(name: str, plain: Measured, own: Measured | None, planned: Measured) -> dict[str, Any]:
    peer = own if name == "aurora" and own is not None else plain
    return {
        "plain_peak_bytes": peer.peak,
        "planned_peak_bytes": planned.peak,
        "flops_ratio": round(planned.flops / plain.flops, 4),
    }


def parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", choices=NAMES)
    parser.add_argument("--budget", help=f"to plan for, else {BUDGETS}")
    parser.add_argument("--by-hand", action="store_true", help="a plan made by hand, for its bytes")
    parser.add_argument("--small", action="store_true", help="simulate the small step, too")
    parser.add_argument(
        "--lean", action="store_true", help="a plan for fewer bytes than the package's own, too"
    )
    parser.add_argument("--table", action="store_true", help="where the planned step's bytes are")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main(sys.argv[1:])
