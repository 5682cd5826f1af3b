"""The devices that plans are made for, and how long an operation takes on them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

import torch

from sci_memeff.errors import BadConfigError, BadDataError

__all__ = ["TARGETS", "Target", "bytes_of", "chosen_target", "load_target", "save_target"]

GIB = 1 << 30
DEFAULT = "A100-40GB"  # where nothing is known of the device: the field's published figures are its
HALF = (torch.bfloat16, torch.float16)


@dataclass(frozen=True, kw_only=True)
class Target:
    """What an operation's time follows from; `calibrated` replaces the data sheet's numbers.

    Rates are in units per second. `launch` is what an operation takes that has nothing to do, and
    `efficiency` the share of the arithmetic rate that matrix products of a model reach.
    """

    name: str
    memory: int
    half_flops: float
    single_flops: float
    bandwidth: float
    host_link: float
    """Bytes per second to and from the host's memory; 0 where the device's memory is the host's."""
    launch: float = 5e-6
    efficiency: float = 0.5

    def seconds(self, flops: int, moved: int, dtype: torch.dtype) -> float:
        """Of one operation with so many FLOPs that reads and writes so many bytes."""
        rate = self.half_flops if dtype in HALF else self.single_flops
        return max(flops / (rate * self.efficiency), moved / self.bandwidth) + self.launch

    def transfer(self, moved: int, computing: float) -> float:
        """Seconds beyond those of computing that boundaries on their way take.

        They travel while the device computes, and are paid for where that does not last; a tenth
        of their own time is always lost to waiting.
        """
        if not moved or not self.host_link:
            return 0.0
        travel = 2 * moved / self.host_link
        return max(travel - computing, 0.1 * travel)


def _gpu(
    name: str, memory: int, half: float, single: float, bandwidth: float, link: float
) -> Target:
    return Target(
        name=name,
        memory=memory * GIB,
        half_flops=half * 1e12,
        single_flops=single * 1e12,
        bandwidth=bandwidth * 1e12,
        host_link=link * 1e9,
    )


# Peak rates of the makers' data sheets: dense bf16 and TF32 or fp32 TFLOP/s, TB/s, and to the
# host GB/s.
TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in (
        _gpu("B200-180GB", 180, 2250.0, 1100.0, 7.7, 50.0),
        _gpu("H200-141GB", 141, 989.0, 494.0, 4.8, 50.0),
        _gpu("H100-80GB", 80, 989.0, 494.0, 3.35, 50.0),
        _gpu("A100-80GB", 80, 312.0, 156.0, 2.0, 25.0),
        _gpu("A100-40GB", 40, 312.0, 156.0, 1.55, 25.0),
        _gpu("L40S-48GB", 48, 362.0, 183.0, 0.86, 25.0),
        _gpu("A10-24GB", 24, 125.0, 62.0, 0.6, 25.0),
        _gpu("V100-32GB", 32, 112.0, 15.7, 0.9, 12.0),
        _gpu("RTX4090", 24, 165.0, 82.0, 1.0, 25.0),
        _gpu("RTX3090", 24, 71.0, 35.0, 0.94, 25.0),
        _gpu("T4-16GB", 16, 65.0, 8.0, 0.32, 12.0),
        # a processor's own memory is the host's: there is nowhere to move boundaries to
        Target(
            name="cpu",
            memory=16 * GIB,
            half_flops=4e11,
            single_flops=2e11,
            bandwidth=4e10,
            host_link=0.0,
            launch=2e-6,
        ),
    )
}


def chosen_target(target: str | Target | None) -> Target:
    """The target itself, by name, or where none is named the CUDA device that is there.

    Without one, an A100 of 40 GB. A name that ends in ".json" is a file of `save_target`'s.
    BadConfigError for a name that is not in the table, BadDataError for a file that holds none.
    """
    if isinstance(target, Target):
        return target
    if target is None:
        target = _present() or DEFAULT
    if target not in TARGETS and target.endswith(".json"):
        return load_target(target)
    if target not in TARGETS:
        near = get_close_matches(target, TARGETS, n=3, cutoff=0.3) or list(TARGETS)
        raise BadConfigError(
            f"there is no target {target!r}",
            mend=f"name one of {', '.join(near)}, or a file that `sci-memeff calibrate` wrote",
        )
    return TARGETS[target]


def save_target(target: Target, path: str | Path) -> Path:
    """Write it as JSON, for `target=` and `--target`."""
    path = Path(path)
    path.write_text(json.dumps(asdict(target), indent=1) + "\n")
    return path


def load_target(path: str | Path) -> Target:
    """The target that `save_target` wrote; BadDataError for a file that holds none."""
    try:
        told = json.loads(Path(path).read_text())
        kinds = {one.name: str if one.name == "name" else (int, float) for one in fields(Target)}
        if set(told) != set(kinds) or not all(isinstance(told[k], kinds[k]) for k in kinds):
            raise ValueError(f"it has {', '.join(sorted(told))}")
        return Target(**told)
    except (OSError, ValueError, TypeError) as error:
        raise BadDataError(
            f"no target can be read from it: {error}",
            source=str(path),
            mend="write one with `sci-memeff calibrate --out FILE`",
        ) from error


def _present() -> str | None:
    if not torch.cuda.is_available():
        return None
    name = torch.cuda.get_device_name().replace(" ", "")
    size = torch.cuda.get_device_properties(0).total_memory / GIB
    fitting = [t for t in TARGETS.values() if t.name.partition("-")[0] in name]
    return min(fitting, key=lambda t: abs(t.memory / GIB - size)).name if fitting else None


_UNITS: Mapping[str, int] = {
    "": 1,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 1 << 10,
    "MIB": 1 << 20,
    "GIB": 1 << 30,
    "TIB": 1 << 40,
}


def bytes_of(budget: int | str, what: Literal["budget"] = "budget") -> int:
    """24 × 2³⁰ for "24GiB", 24 × 10⁹ for "24GB"; an int is bytes. BadConfigError for the rest."""
    if isinstance(budget, int) and not isinstance(budget, bool):
        size: float = budget
    else:
        found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([a-zA-Z]*)\s*", str(budget))
        if found is None or found[2].upper() not in _UNITS:
            raise BadConfigError(
                f"{budget!r} is no {what} in bytes",
                mend='write it as "24GiB" (1024³), "24GB" (1000³), or a whole number of bytes',
            )
        size = float(found[1]) * _UNITS[found[2].upper()]
    if size < 1:
        raise BadConfigError(
            f"a {what} of {budget} bytes is none", mend='give at least one byte, such as "8GiB"'
        )
    return int(size)
