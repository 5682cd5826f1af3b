"""AlphaFold 2's training losses (Supplement 1.9), each a walk over an axis it is independent in.

Every loss is a module without parameters. Its `rows` evaluates some slices and gives their sums,
which are reduced to one number per sample (*b) afterwards.
"""

from __future__ import annotations

from sci_memeff.alphafold.losses.aligned_error import AlignedErrorLoss
from sci_memeff.alphafold.losses.config import LossConfig
from sci_memeff.alphafold.losses.distogram import DistogramLoss
from sci_memeff.alphafold.losses.fape import (
    FrameAlignedPointError,
    backbone_fape,
    sidechain_fape,
)
from sci_memeff.alphafold.losses.masked_msa import MaskedMsaLoss
from sci_memeff.alphafold.losses.plddt import PlddtLoss
from sci_memeff.alphafold.losses.renaming import Renamed, SymmetricRenaming
from sci_memeff.alphafold.losses.resolved import ExperimentallyResolvedLoss
from sci_memeff.alphafold.losses.torsion import TorsionLoss
from sci_memeff.alphafold.losses.total import AlphaFoldLoss
from sci_memeff.alphafold.losses.violation import ViolationLoss, Violations

__all__ = [
    "AlignedErrorLoss",
    "AlphaFoldLoss",
    "DistogramLoss",
    "ExperimentallyResolvedLoss",
    "FrameAlignedPointError",
    "LossConfig",
    "MaskedMsaLoss",
    "PlddtLoss",
    "Renamed",
    "SymmetricRenaming",
    "TorsionLoss",
    "ViolationLoss",
    "Violations",
    "backbone_fape",
    "sidechain_fape",
]
