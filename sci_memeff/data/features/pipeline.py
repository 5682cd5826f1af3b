"""From a protein to an example: everything random is drawn here (AlphaFold 2, Supplement 1.2).

Training draws the number of passes, the crop, the templates, and anew for each pass the rows of
the alignment and the masked letters. Evaluation draws only the last two, from a fixed stream.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from sci_memeff.chemistry import RESTYPE_INDEX, UNKNOWN
from sci_memeff.data.config import DataConfig
from sci_memeff.data.example import Example
from sci_memeff.data.features.atoms import atom14_positions, atom_layout, pseudo_beta
from sci_memeff.data.features.crop import crop_start, take_crop
from sci_memeff.data.features.frames import rigid_group_features
from sci_memeff.data.features.masking import msa_profile
from sci_memeff.data.features.msa import msa_pass, target_feat
from sci_memeff.data.features.padding import axis_sizes, pad_features
from sci_memeff.data.features.rows import delete_blocks
from sci_memeff.data.features.templates import sample_templates, template_features
from sci_memeff.data.features.torsions import torsion_angles
from sci_memeff.data.proteins.record import Protein, Target, Templates
from sci_memeff.data.streams import Purpose, stream

__all__ = ["evaluation_example", "training_example"]


class _Draw(NamedTuple):
    """What is decided about an example before its features are computed."""

    passes: int
    clamped: bool
    start: int
    size: int
    rows: Int64[np.ndarray, " s"]
    templates: Templates


def training_example(protein: Protein, config: DataConfig, *, seed: int, sample: int) -> Example:
    """Example number `sample` of a run: a pure function of its arguments.

    `features` are those of `schema.AXES`, the structure's included.
    """
    passes = stream(seed, sample, Purpose.PASSES).integers(1, config.max_passes, endpoint=True)
    clamped = bool(stream(seed, sample, Purpose.CLAMP).random() < config.clamp_probability)
    crop = stream(seed, sample, Purpose.CROP)
    draw = _Draw(
        passes=int(passes),
        clamped=clamped,
        start=crop_start(len(protein), config.crop_size, clamped=clamped, rng=crop),
        size=config.crop_size,
        rows=delete_blocks(
            len(protein.alignment.msa),
            config.deletion_blocks,
            config.deletion_block_fraction,
            stream(seed, sample, Purpose.BLOCKS),
        ),
        templates=sample_templates(
            protein.templates, config, stream(seed, sample, Purpose.TEMPLATES)
        ),
    )
    return _example(protein, config, draw, (seed, sample))


def evaluation_example(
    protein: Protein, config: DataConfig, *, crop_size: int | None = None, seed: int = 0
) -> Example:
    """The whole protein, or its first `crop_size` residues: all passes, best templates, no block
    deletion. Rows and masked letters come from `seed`, as AlphaFold 2 masks in inference too.

    A protein without a structure gives the features for a prediction.
    """
    draw = _Draw(
        passes=config.max_passes,
        clamped=True,
        start=0,
        size=crop_size or len(protein),
        rows=np.arange(len(protein.alignment.msa)),
        templates=sample_templates(protein.templates, config, None),
    )
    return _example(protein, config, draw, (seed, 0))


def _example(protein: Protein, config: DataConfig, draw: _Draw, key: tuple[int, int]) -> Example:
    aatype = _aatype(protein.sequence)
    fixed = _sequence_features(aatype) | template_features(draw.templates)
    fixed["no_recycling_iters"] = np.array(draw.passes - 1)
    if protein.target is not None:
        fixed |= _target_features(aatype, protein.target)
        fixed["use_clamped_fape"] = np.array(draw.clamped, np.float32)
    distillation = protein.target is not None and protein.target.is_distillation
    profile = msa_profile(protein.alignment.msa)
    passes = [
        msa_pass(
            protein.alignment,
            draw.rows,
            profile,
            config,
            (*key, turn),
            distillation=distillation,
        )
        for turn in range(draw.passes)
    ]
    sizes = axis_sizes(config) if config.fixed_size else {}
    fixed, *passes = (
        pad_features(take_crop(features, draw.start, draw.size), sizes)
        for features in (fixed, *passes)
    )
    return Example(protein.name, _with_passes(fixed, passes))


def _with_passes(
    fixed: Mapping[str, np.ndarray], passes: Sequence[Mapping[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """One dictionary, passes along the last axis of every feature.

    Each pass of a per-pass feature is contiguous in memory; the other features are views.
    """
    features = {
        name: np.broadcast_to(value[..., None], (*value.shape, len(passes)))
        for name, value in fixed.items()
    }
    for name in passes[0]:
        features[name] = np.moveaxis(np.stack([one[name] for one in passes]), 0, -1)
    return features


def _sequence_features(aatype: Int64[np.ndarray, " n"]) -> dict[str, np.ndarray]:
    """Features of the sequence alone. Residues are numbered from 0 along the whole sequence."""
    length = len(aatype)
    return {
        "aatype": aatype,
        "residue_index": np.arange(length, dtype=np.int64),
        "seq_mask": np.ones(length, np.float32),
        "seq_length": np.array(length, np.int64),
        "target_feat": target_feat(aatype),
        **atom_layout(aatype),
    }


def _target_features(aatype: Int64[np.ndarray, " n"], target: Target) -> dict[str, np.ndarray]:
    """What the losses compare with: atoms, frames and torsions of the known structure."""
    positions, mask = target.positions, target.mask.astype(np.float32)
    torsions = torsion_angles(aatype, positions, mask)
    beta, beta_mask = pseudo_beta(aatype, positions, mask)
    return {
        "all_atom_positions": positions,
        "all_atom_mask": mask,
        **atom14_positions(aatype, positions, mask),
        **rigid_group_features(aatype, positions, mask),
        "chi_angles_sin_cos": torsions["torsion_angles_sin_cos"][:, 3:],
        "chi_mask": torsions["torsion_angles_mask"][:, 3:],
        "pseudo_beta": beta,
        "pseudo_beta_mask": beta_mask,
        "resolution": np.array(target.resolution, np.float32),
        "is_distillation": np.array(target.is_distillation, np.float32),
    }


def _aatype(sequence: str) -> Int64[np.ndarray, " n"]:
    return np.array([RESTYPE_INDEX.get(letter, UNKNOWN) for letter in sequence], np.int64)
