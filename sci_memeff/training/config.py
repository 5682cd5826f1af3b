"""How a model is trained: the optimizer's settings and the run's, as frozen dataclasses.

The defaults are those of AlphaFold 2's initial training (Supplement, section 1.11 and Table 4).
Counts of samples, not of steps, set the schedule, so it does not depend on the batch size.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from sci_memeff.errors import BadConfigError

__all__ = [
    "FREE_SETTINGS",
    "GaLoreConfig",
    "OptimizerConfig",
    "OptimizerKind",
    "RecipeName",
    "RunConfig",
    "SpikeConfig",
]

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
RecipeName = Literal["fp32", "bf16", "bf16-pure", "fp8"]
OptimizerKind = Literal["adam", "adam8bit", "adam4bit", "adamfp8", "galore", "offloaded"]


@dataclass(frozen=True, kw_only=True)
class GaLoreConfig:
    """How gradients of large matrices are projected; for the kind "galore" alone.

    Adam's moments are those of the gradient on its `rank` largest directions, which are found anew
    `every` so many updates; matrices with a side below twice the rank are left as they are. Steps
    are multiplied by `scale`. Sources: Zhao et al. (2024), whose ranks are for matrices of
    thousands; AlphaFold 2's have 64 to 1024.
    """

    rank: Positive = 32
    every: Positive = 200
    scale: Annotated[float, Field(gt=0.0)] = 1.0


@dataclass(frozen=True, kw_only=True)
class SpikeConfig:
    """A guard against spikes in gradients (SPAM: Huang et al., 2025). Off, unless set.

    A value whose square is more than `ratio` times its own second moment (corrected for its bias)
    is cut to that bound; SPAM takes 5000. Where a parameter has seen fewer than ten updates since
    its moments began, nothing is cut. Before every update whose number, counted from 0, is a
    multiple of `reset_every` but 0, moments begin anew, and the learning rate rises from zero again
    over `rewarm` updates, by half a cosine; SPAM takes 500 and 150.
    """

    ratio: Annotated[float, Field(gt=1.0)] | None = None
    reset_every: Count = 0
    rewarm: Count = 150

    def __post_init__(self) -> None:
        if 0 < self.reset_every <= self.rewarm:
            raise BadConfigError(
                f"spikes.reset_every is {self.reset_every} and spikes.rewarm {self.rewarm}: the "
                "learning rate would never be whole again",
                mend="set rewarm to less than reset_every; a third of it is usual",
            )

    @property
    def is_on(self) -> bool:
        """Whether it does anything."""
        return self.ratio is not None or self.reset_every > 0


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Adam with warm-up, one decay, per-sample clipping and averaged weights (section 1.11.3).

    `kind` says how its two moments are kept, in bytes per parameter: "adam" as they are, 8;
    "adam8bit", "adam4bit" and "adamfp8" in blocks of low-bit codes, 2 or 1, by torchao (with no
    weight decay, as here, Adam and AdamW are one); "galore" on a few directions of every large
    matrix, by galore-torch; "offloaded" as they are, in the memory of the host, with the averaged
    weights. Averages are in float32 with all.

    The learning rate rises linearly to `learning_rate` over `warmup_samples` samples and is
    multiplied by `decay_factor` once, after `decay_after_samples`. `batch_size` samples make one
    update; each sample's gradient is scaled to a global norm of at most `clip_norm` before the
    mean over the batch is taken; None leaves it as it is. `ema_decay` is the decay, per update,
    of the averaged weights.

    `release_gradients` updates each parameter inside the backward pass, as soon as its gradient is
    whole, and lets the gradient go: 4 bytes less per parameter, and the same numbers. It needs one
    sample per update and no clipping, whose factor is known only when every gradient is. The price:
    a gradient that is not finite is found when parameters before it in the backward pass have been
    updated; it and those after it are not, and the step counts as not updated. (A loss that is not
    finite is found before the backward pass, as ever.) BadConfigError where they do not go
    together.
    """

    kind: OptimizerKind = "adam"
    learning_rate: Annotated[float, Field(gt=0.0)] = 1e-3
    warmup_samples: Count = 128_000
    decay_after_samples: Count = 6_400_000
    decay_factor: Annotated[float, Field(gt=0.0, le=1.0)] = 0.95
    batch_size: Positive = 128
    clip_norm: Annotated[float, Field(gt=0.0)] | None = 0.1
    beta1: Fraction = 0.9
    beta2: Fraction = 0.999
    eps: Annotated[float, Field(gt=0.0)] = 1e-6
    ema_decay: Fraction = 0.999
    release_gradients: bool = False
    galore: GaLoreConfig = field(default_factory=GaLoreConfig)
    spikes: SpikeConfig = field(default_factory=SpikeConfig)

    def __post_init__(self) -> None:
        if self.kind == "galore" and self.release_gradients:
            raise BadConfigError(
                "kind galore with release_gradients: the directions of a gradient are found before "
                "it is known whether it is finite",
                mend="leave out release_gradients, or set kind to adam8bit",
            )
        if self.kind == "galore" and self.spikes.is_on:
            raise BadConfigError(
                "kind galore with spikes: its second moments are not those of the gradient, and a "
                "spike may be what its directions were found from",
                mend="leave out spikes, or set kind to another",
            )
        if self.release_gradients and (self.clip_norm is not None or self.batch_size > 1):
            raise BadConfigError(
                f"release_gradients with batch_size {self.batch_size} and clip_norm "
                f"{self.clip_norm}: these need the gradients after the backward pass",
                mend="set batch_size to 1 and clip_norm to null (None in Python), or leave out "
                "release_gradients",
            )


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """How long a run is, and what it writes on its way.

    `seed` fixes the initial weights, the data stream and dropout. A checkpoint is written every
    `checkpoint_every` updates and at the end; the newest `keep_checkpoints` stay. Every
    `validate_every` updates, and at the end, the averaged weights are scored (0: at the end
    only). `workers` processes prepare samples ahead; 0 prepares them in the training process.
    `cache_dir` keeps parsed structures and alignments for the next time they are drawn; without
    one, every sample is read from its files.

    `budget` is how many bytes of the device a step may take, such as "8GiB": the run is planned for
    it, and does what it must to need no more. Without one nothing is planned beforehand. `verify`
    compares the planned step with the plain one before the first update, gradient by gradient.
    `recipe` says what modules compute in, see docs/precision.md; weights are float32 in all.
    """

    steps: Positive = 78_125
    seed: Count = 0
    validate_every: Count = 1_000
    checkpoint_every: Positive = 500
    keep_checkpoints: Positive = 3
    workers: Count = 0
    cache_dir: str | None = None
    budget: str | None = None
    verify: bool = False
    recipe: RecipeName = "fp32"


FREE_SETTINGS = frozenset(
    {
        "run.steps",
        "run.validate_every",
        "run.checkpoint_every",
        "run.keep_checkpoints",
        "run.workers",
        "run.cache_dir",
        "run.budget",
        "run.verify",
    }
)
"""The settings that a resumed run may change: they leave every number of it as it is.

But for `budget`: under another plan, sums are added up in another order.
"""
