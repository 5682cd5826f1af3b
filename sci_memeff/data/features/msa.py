"""The network's view of an alignment: one pass's MSA features (AlphaFold 2, Supplement 1.2.9).

`msa_feat` holds, per cluster and residue: 23 one-hot tokens, has a deletion, deletion value, 23
profile, mean deletion value (Table 1). s counts clusters, e extra rows, n residues.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32, Int64, UInt8

from sci_memeff.chemistry import NUM_MSA_TOKENS, NUM_RESTYPES
from sci_memeff.data.config import DataConfig
from sci_memeff.data.features.clusters import nearest_centres, summarise_clusters
from sci_memeff.data.features.masking import mask_msa
from sci_memeff.data.features.rows import sample_rows, split_rows
from sci_memeff.data.proteins.record import Alignment
from sci_memeff.data.streams import Purpose, stream

__all__ = ["PassKey", "deletion_value", "msa_pass", "target_feat"]

PassKey = tuple[int, int, int]
"""Seed, sample, pass: what the randomness of one pass depends on."""


def deletion_value(deletions: np.ndarray) -> Float32[np.ndarray, ...]:
    """Deletion counts, 0 to ∞, as numbers from 0 to 1: 2/π·arctan(d/3)."""
    return (np.arctan(np.asarray(deletions, np.float32) / 3.0) * (2.0 / np.pi)).astype(np.float32)


def target_feat(aatype: Int64[np.ndarray, " n"]) -> Float32[np.ndarray, "n 22"]:
    """One-hot residue types after a column for domain breaks, of which a chain has none."""
    features = np.zeros((len(aatype), NUM_RESTYPES + 1), np.float32)
    features[np.arange(len(aatype)), aatype + 1] = 1.0
    return features


def msa_pass(
    alignment: Alignment,
    rows: Int64[np.ndarray, " s"],
    profile: Float[np.ndarray, "n 22"],
    config: DataConfig,
    key: PassKey,
    *,
    distillation: bool = False,
) -> dict[str, np.ndarray]:
    """Sample, mask and cluster `rows` of the alignment; the features of one pass.

    `profile` is that of the whole alignment. There is at least one extra row, masked if it must
    be: networks need not handle an empty axis.
    """
    choose = stream(*key[:2], Purpose.ROWS, key[2])
    if distillation:
        rows = sample_rows(rows, config.max_distillation_msa, choose)
    centres, others = split_rows(rows, config.num_clusters, choose)
    true_msa = alignment.msa[centres]
    masked = mask_msa(true_msa, profile, config, stream(*key[:2], Purpose.MASKING, key[2]))
    other_msa, other_deletions = alignment.msa[others], alignment.deletions[others]
    deletions = alignment.deletions[centres]
    nearest = nearest_centres(masked.msa, other_msa)
    summary = summarise_clusters(masked.msa, other_msa, deletions, other_deletions, nearest)
    features = {
        "msa_feat": _msa_feat(masked.msa, deletions, summary.profile, summary.deletion_mean),
        "msa_mask": np.ones(true_msa.shape, np.float32),
        "msa_row_mask": np.ones(len(true_msa), np.float32),
        "true_msa": true_msa.astype(np.int64),
        "bert_mask": masked.masked.astype(np.float32),
    }
    extra = slice(config.max_extra_msa)
    return features | _extra_features(other_msa[extra], other_deletions[extra])


def _msa_feat(
    msa: UInt8[np.ndarray, "s n"],
    deletions: np.ndarray,
    profile: Float32[np.ndarray, "s n 23"],
    deletion_mean: Float32[np.ndarray, "s n"],
) -> Float32[np.ndarray, "s n 49"]:
    one_hot = np.eye(NUM_MSA_TOKENS, dtype=np.float32)[msa]
    has_deletion = (deletions > 0).astype(np.float32)
    return np.concatenate(
        [
            one_hot,
            has_deletion[..., None],
            deletion_value(deletions)[..., None],
            profile,
            deletion_value(deletion_mean)[..., None],
        ],
        axis=-1,
    )


def _extra_features(msa: np.ndarray, deletions: np.ndarray) -> dict[str, np.ndarray]:
    there = len(msa)
    if not there:
        msa, deletions = (np.zeros((1, msa.shape[1]), values.dtype) for values in (msa, deletions))
    mask = np.full(msa.shape, there > 0, np.float32)
    return {
        "extra_msa": msa.astype(np.int64),
        "extra_msa_mask": mask,
        "extra_msa_row_mask": mask[:, 0].copy(),
        "extra_has_deletion": (deletions > 0).astype(np.float32),
        "extra_deletion_value": deletion_value(deletions),
    }
