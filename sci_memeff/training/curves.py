"""Training curves side by side: cheaper ways to train, against float32's own spread over seeds.

Two seeds of one recipe end apart, by other first weights and another order of samples. A cheaper
one that ends no further from float32's mean than float32's seeds do is as good as anybody can tell.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from sci_memeff._plan import Plan
from sci_memeff.alphafold.losses import AlphaFoldLoss
from sci_memeff.data.dataset import TrainingData
from sci_memeff.data.sources.layout import DataFolder
from sci_memeff.errors import BadConfigError
from sci_memeff.training.alphafold import fresh_model
from sci_memeff.training.compared import Curve, Curves
from sci_memeff.training.folder import RunFolder
from sci_memeff.training.loop import Parts, fit
from sci_memeff.training.presets import Preset

__all__ = ["Variant", "training_curves"]

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A way to train: a plan with its recipe and stores, and what differs in the optimizer."""

    name: str
    plan: Plan = field(default_factory=Plan)
    optimizer: Mapping[str, Any] = field(default_factory=dict)


def training_curves(
    settings: Preset,
    data: Path,
    variants: Sequence[Variant],
    *,
    seeds: Sequence[int],
    folder: Path,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> Curves:
    """Train every variant from every seed, and compare where they end with the first variant.

    A run is what `fit` makes of it, with a folder of its own in `folder`; one that is finished
    there already is read, one that was interrupted goes on. Of a seed, all variants begin with the
    same weights and see the same samples in the same order.

    BadConfigError for fewer than two seeds or variants, or two of one name.
    """
    _check(variants, seeds)
    found: list[Curve] = []
    total = len(variants) * len(seeds)
    for variant in variants:
        for seed in seeds:
            if progress is not None:
                progress(f"{variant.name}, seed {seed}", len(found), total)
            where = RunFolder(folder / f"{_slug(variant.name)}-{seed}")
            if not where.summary.exists():
                _run(settings, data, variant, seed, where, torch.device(device))
            found.append(_read(variant.name, seed, where))
    if progress is not None:
        progress("done", total, total)
    return Curves(curves=tuple(found), baseline=variants[0].name)


def _run(
    settings: Preset, data: Path, variant: Variant, seed: int, where: RunFolder, on: torch.device
) -> None:
    settings = replace(
        settings,
        run=replace(settings.run, seed=seed),
        optimizer=replace(settings.optimizer, **variant.optimizer),
    )
    proteins = TrainingData(DataFolder(data), settings.data, seed)
    parts = Parts(
        fresh_model(settings),
        AlphaFoldLoss(settings.loss),
        proteins,
        proteins.validation(),
        plan=variant.plan,
    )
    fit(parts, settings, where.path, device=on, resume=where.config.exists())


def _read(name: str, seed: int, where: RunFolder) -> Curve:
    with (where.path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    summary = json.loads(where.summary.read_text())
    return Curve(
        variant=name,
        seed=seed,
        losses=tuple(float(row["loss"]) for row in rows),
        lddts=tuple(float(row["lddt_ca"]) for row in rows),
        final_loss=summary["loss"],
        final_lddt=summary["lddt_ca"],
        peak_bytes=summary["peak_bytes"],
    )


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name)


def _check(variants: Sequence[Variant], seeds: Sequence[int]) -> None:
    names = [variant.name for variant in variants]
    slugs = [_slug(name) for name in names]
    if len(set(slugs)) < len(slugs):
        raise BadConfigError(
            f"two variants have one name: {', '.join(names)}", mend="give each its own"
        )
    if len(set(seeds)) < 2 or len(variants) < 2:
        raise BadConfigError(
            f"{len(set(seeds))} seeds of {len(variants)} variants show no spread to compare with",
            mend="give two seeds or more, three for a spread worth the name, and two variants",
        )
