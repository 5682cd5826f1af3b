"""A protein that nobody has seen, of any size: for steps that are run and not learnt from."""

from __future__ import annotations

import numpy as np

from sci_memeff.chemistry import ATOM37_INDEX, ATOM37_MASK, NUM_RESTYPES, RESTYPES
from sci_memeff.data.config import DataConfig
from sci_memeff.data.example import Example
from sci_memeff.data.features.pipeline import evaluation_example
from sci_memeff.data.proteins.record import Alignment, Protein, Target, Templates

__all__ = ["made_up_example"]

CA_TO_CA = 3.8  # Å
MUTATED = 0.3  # of the letters of the other sequences


def made_up_example(config: DataConfig, *, seed: int = 0) -> Example:
    """Features of every kind and of the full sizes of `config`, all passes: a function of `seed`.

    A chain that walks at random through space, with an alignment of mutated copies and templates
    like itself; its bonds are of no chemistry.
    """
    rng = np.random.default_rng(seed)
    num, num_rows = config.crop_size, config.num_clusters + max(config.max_extra_msa, 1)
    aatype = rng.integers(0, len(RESTYPES), num)
    msa = np.where(
        rng.random((num_rows, num)) < MUTATED,
        rng.integers(0, NUM_RESTYPES, (num_rows, num)),
        aatype,
    )
    msa[0] = aatype
    positions, mask = _structure(aatype, rng)
    count = config.max_templates
    templates = Templates(
        np.repeat(aatype[None].astype(np.uint8), count, 0),
        np.repeat(positions[None], count, 0) * mask[..., None],
        np.repeat(mask[None], count, 0),
        np.ones((count, 1), np.float32),
    )
    protein = Protein(
        "made_up",
        "".join(RESTYPES[k] for k in aatype),
        Alignment(msa.astype(np.uint8), rng.integers(0, 3, msa.shape).astype(np.int32)),
        templates,
        Target(positions, mask, resolution=2.0),
    )
    return evaluation_example(protein, config, seed=seed)


def _structure(aatype: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Positions, Å, and which atoms there are: some way off from a chain of Cα."""
    steps = rng.normal(size=(len(aatype), 3))
    steps *= CA_TO_CA / np.linalg.norm(steps, axis=-1, keepdims=True)
    places = np.cumsum(steps, axis=0) - steps.sum(0) / 2
    offsets = rng.normal(size=(len(aatype), len(ATOM37_INDEX), 3))
    offsets[:, ATOM37_INDEX["CA"]] = 0.0
    mask = ATOM37_MASK[aatype].astype(bool)
    positions = (places[:, None] + 1.5 * offsets) * mask[..., None]
    return positions.astype(np.float32), mask
