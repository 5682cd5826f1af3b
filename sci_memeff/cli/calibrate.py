"""`sci-memeff calibrate`: measure this machine's device, for plans that are made for it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sci_memeff.cli.devices import chosen_device
from sci_memeff.cli.failures import readable
from sci_memeff.planning.calibrate import calibrated
from sci_memeff.planning.targets import save_target

__all__ = ["EPILOG", "calibrate"]

EPILOG = """
**Example**

    sci-memeff calibrate --out mine.json
    sci-memeff plan --preset finetuning --budget 6GiB --target mine.json

Bytes do not depend on it: only which of the plans that fit is the fastest.
"""


@readable
def calibrate(
    out: Annotated[Path, typer.Option(help="File to write the target to.")] = Path("target.json"),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
) -> None:
    """Measure a device's rates, in place of a data sheet's, for --target of the other commands."""
    target = calibrated(chosen_device(device))
    print(
        f"{target.name}: {target.half_flops / 1e12:.2f} TFLOP/s in bf16, "
        f"{target.single_flops / 1e12:.2f} in fp32, {target.bandwidth / 1e9:.1f} GB/s, "
        f"{target.launch * 1e6:.1f} µs an operation"
    )
    print(f"written to {save_target(target, out)}")
