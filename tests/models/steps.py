"""Small training steps of other people's models, built as the benchmarks build them."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from torch import nn

from sci_memeff import Plan, Rule
from sci_memeff.checkpointing import recomputed
from sci_memeff.chunking import sliced, summed
from sci_memeff.models import FAMILIES, SeamHint, hints
from sci_memeff.models.family import Family, Kind

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
# some ask for CUDA's autocast wherever they run, to turn it off
quiet = pytest.mark.filterwarnings("ignore:CUDA is not available or torch_xla is imported")


def family(name: str) -> Family:
    return next(family for family in FAMILIES if family.name == name)


def builders(name: str) -> ModuleType:
    """What builds the steps of that family's models; skips where its package is not installed."""
    package = family(name).package
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed here; `make test-foreign` has it")
    beside_benchmarks("foreign_models.torchvision_names").declare_torchvision()
    return beside_benchmarks(f"foreign_models.{name}")


def beside_benchmarks(name: str) -> ModuleType:
    if str(BENCHMARKS) not in sys.path:
        sys.path.append(str(BENCHMARKS))
    return imported(name)


def imported(name: str) -> ModuleType:
    """Some packages set warning filters when they are imported, or complain of what is missing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return import_module(name)


def built(build: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return build(*args, **kwargs)


def use_of(hint: SeamHint, size: int) -> Any:
    if hint.kind == "slice":
        return sliced(size, hint.in_dims, hint.out_dims)
    if hint.kind == "sum":
        return summed(size, hint.in_dims, each=recomputed(), sums=hint.sums)
    return recomputed()


def plan_of(model: nn.Module, kind: Kind, size: int = 3) -> Plan:
    """Every hint of that kind, followed wherever it is given."""
    return Plan(
        rules=tuple(
            Rule(where=name, seam="forward", use=use_of(hint, size))
            for name, found in hints(model).items()
            for hint in found
            if hint.kind == kind
        )
    )
