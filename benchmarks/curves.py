"""Training curves of every recipe and optimizer beside float32's, over several seeds.

    python benchmarks/curves.py --seeds 3 [--steps 400] [--data data] [--out runs/curves]
        [--variants bf16 fp8 …] [--plot curves.svg]

The demo preset, the bundled proteins. Long: a run goes on where it was interrupted, and one that is
in --out already is read. A variant passes where neither its loss nor its lDDT-Cα, means over seeds,
is worse than float32's by more than two standard deviations of float32's seeds.

Ends with one line of JSON: {"passed", "baseline", "variants": {NAME: {"passed", "loss", …}}}.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from recipes import plan_of

from sci_memeff import preset
from sci_memeff.training.curves import Variant, training_curves

# The demo's matrices have 64 to 256 rows: directions for GaLore to leave out are few.
GALORE = {"kind": "galore", "galore": {"rank": 16, "every": 50, "scale": 1.0}}
VARIANTS = (
    Variant(name="fp32"),
    *(Variant(name=name, plan=plan_of(name)) for name in ("bf16", "bf16-pure", "fp8")),
    *(Variant(name=name, plan=plan_of(name)) for name in ("kept-fp8", "kept-int8")),
    *(Variant(name=kind, optimizer={"kind": kind}) for kind in ("adam8bit", "adam4bit", "adamfp8")),
    Variant(name="galore", optimizer=GALORE),
)
NAMES = tuple(variant.name for variant in VARIANTS)


def main(arguments: list[str]) -> None:
    given = parsed(arguments)
    settings = preset("demo")
    optimizer = settings.optimizer
    if given.steps < settings.run.steps:  # the one decay, as late in a run as it is in a whole one
        late = optimizer.decay_after_samples * given.steps // settings.run.steps
        optimizer = replace(optimizer, decay_after_samples=late)
    run = replace(settings.run, steps=given.steps, validate_every=0, checkpoint_every=given.steps)
    found = training_curves(
        replace(settings, run=run, optimizer=optimizer),
        given.data,
        [variant for variant in VARIANTS if variant.name in ("fp32", *given.variants)],
        seeds=range(given.seeds),
        folder=given.out,
        progress=lambda what, done, total: print(f"{done}/{total} {what}", file=sys.stderr),
    )
    print(f"{given.steps} steps of the demo preset\n\n{found}\n")
    if given.plot is not None:
        found.plot(given.plot)
        print(f"drawn to {given.plot}")
    print(found.to_json())


def parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=3, help="runs of each variant")
    parser.add_argument("--steps", type=int, default=400, help="updates of each run")
    parser.add_argument("--data", type=Path, default=Path("data"), help="a folder of proteins")
    parser.add_argument("--out", type=Path, default=Path("runs/curves"), help="for the runs")
    parser.add_argument("--variants", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--plot", type=Path, help="a picture to draw: .png, .pdf or .svg")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
