"""How a model is trained: the optimizer's settings and the run's, as frozen dataclasses.

The defaults are those of AlphaFold 2's initial training (Supplement, section 1.11 and Table 4).
Counts of samples, not of steps, set the schedule, so it does not depend on the batch size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from sci_memeff.errors import BadConfigError

__all__ = ["FREE_SETTINGS", "OptimizerConfig", "RunConfig"]

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Adam with warm-up, one decay, per-sample clipping and averaged weights (section 1.11.3).

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

    def __post_init__(self) -> None:
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
