"""Other people's models: where their seams are. Nothing of theirs is imported here.

    for name, found in hints(model).items():  # "blocks.0.pair_stack.tri_att_start.mha"
        for hint in found:                    # at most one of each kind
            hint.kind, hint.in_dims, hint.out_dims

Of kind "slice" it is what `sliced(size, in_dims=hint.in_dims, out_dims=hint.out_dims)` takes; of
kind "sum", what `summed(size, in_dims=hint.in_dims, sums=hint.sums, each=recomputed())` takes; of
kind "recompute" it says that `recomputed()` may stand there.
"""

from __future__ import annotations

from torch import nn

from sci_memeff.models import family
from sci_memeff.models.aurora import AURORA
from sci_memeff.models.boltz import BOLTZ
from sci_memeff.models.family import Family, SeamHint
from sci_memeff.models.mace import MACE
from sci_memeff.models.openfold3 import OPENFOLD3

__all__ = ["FAMILIES", "Family", "SeamHint", "families_in", "hints"]

FAMILIES = (OPENFOLD3, BOLTZ, AURORA, MACE)


def families_in(model: nn.Module) -> tuple[Family, ...]:
    """The families that any module of `model` belongs to."""
    return family.families_in(model, FAMILIES)


def hints(model: nn.Module) -> dict[str, tuple[SeamHint, ...]]:
    """What is known of modules of `model`, by their names."""
    return family.hints_in(model, FAMILIES)
