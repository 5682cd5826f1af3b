"""Forms in which Adam's moments are kept; adding one is one file and one line here."""

from __future__ import annotations

from sci_memeff.training.config import OptimizerConfig
from sci_memeff.training.moments.exact import Exact
from sci_memeff.training.moments.kept import FIRST, SECOND, STEP, Moments, States
from sci_memeff.training.moments.low_bit import LowBit
from sci_memeff.training.moments.projected import Projected

__all__ = ["FIRST", "SECOND", "STEP", "Moments", "States", "moments_of"]


def moments_of(config: OptimizerConfig) -> Moments:
    """The form that `config.kind` names; MissingPackageError where its package is not there."""
    if config.kind in ("adam8bit", "adam4bit", "adamfp8"):
        return LowBit(config.kind)
    if config.kind == "galore":
        return Projected(config.galore)
    return Exact()
