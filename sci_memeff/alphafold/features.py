"""The features that the network reads, under OpenFold v2's names; whatever else is there is left.

Axes: s MSA clusters, e extra MSA rows, t templates, i residues; the last axis counts passes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from sci_memeff.alphafold.config import ModelConfig
from sci_memeff.errors import BadDataError

__all__ = ["check_features", "feature_names", "one_pass"]

# Shapes of one pass. Masks are 0 or 1, letters and residue types whole numbers, lengths in Å.
_SEQUENCE = {
    "aatype": "*b i",
    "residue_index": "*b i",
    "seq_mask": "*b i",
    "target_feat": "*b i 22",
    "msa_feat": "*b s i 49",
    "msa_mask": "*b s i",
    "extra_msa": "*b e i",
    "extra_has_deletion": "*b e i",
    "extra_deletion_value": "*b e i",
    "extra_msa_mask": "*b e i",
    "atom37_atom_exists": "*b i 37",
}
_TEMPLATES = {
    "template_mask": "*b t",
    "template_aatype": "*b t i",
    "template_all_atom_positions": "*b t i 37 3",
    "template_all_atom_mask": "*b t i 37",
    "template_pseudo_beta": "*b t i 3",
    "template_pseudo_beta_mask": "*b t i",
}
_TEMPLATE_TORSIONS = {
    "template_torsion_angles_sin_cos": "*b t i 7 2",
    "template_alt_torsion_angles_sin_cos": "*b t i 7 2",
    "template_torsion_angles_mask": "*b t i 7",
}


def feature_names(config: ModelConfig) -> tuple[str, ...]:
    """The names of the features that a network of this config reads."""
    names = tuple(_SEQUENCE)
    if config.templates:
        names += tuple(_TEMPLATES)
        if config.template_torsions:
            names += tuple(_TEMPLATE_TORSIONS)
    return names


def check_features(batch: Mapping[str, Tensor], names: Sequence[str]) -> int:
    """How many passes the batch holds; BadDataError where `names` are missing or do not agree."""
    missing = [name for name in names if name not in batch]
    if missing:
        raise BadDataError(
            f"the network reads {', '.join(missing)}, and the batch has no such feature",
            source="features",
            mend="make them with sci_memeff.make_batch or OpenFold's pipeline; a network without "
            "templates is ModelConfig(templates=False)",
        )
    passes = batch["aatype"].shape[-1]
    for name in names:
        if batch[name].shape[-1:] != (passes,):
            raise BadDataError(
                f"aatype {tuple(batch['aatype'].shape)} and {name} {tuple(batch[name].shape)} do "
                "not end with the same number of passes",
                source="features",
                mend="give every feature a last dimension of passes: feature[..., None] for one",
            )
    return passes


def one_pass(batch: Mapping[str, Tensor], names: Sequence[str], i: int) -> dict[str, Tensor]:
    """The features of pass i, without the last dimension; whole numbers as int64."""
    return {name: _whole_as_int64(batch[name][..., i]) for name in names}


def _whole_as_int64(x: Tensor) -> Tensor:
    is_whole = not (x.is_floating_point() or x.dtype == torch.bool)
    return x.long() if is_whole else x
