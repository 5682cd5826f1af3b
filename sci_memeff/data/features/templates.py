"""Templates as the network sees them (AlphaFold 2, Supplement 1.2.3 and Table 1).

t counts templates, n residues of the query; a template's residues stand where they are aligned.
"""

from __future__ import annotations

import numpy as np

from sci_memeff.data.config import DataConfig
from sci_memeff.data.features.atoms import pseudo_beta
from sci_memeff.data.features.torsions import torsion_angles
from sci_memeff.data.proteins.record import Templates

__all__ = ["sample_templates", "template_features"]


def sample_templates(
    templates: Templates, config: DataConfig, rng: np.random.Generator | None
) -> Templates:
    """The best max_templates ones; with an `rng`, min(uniform[0, t], max_templates) random ones."""
    num_templates = len(templates.aatype)
    order, count = np.arange(num_templates), num_templates
    if rng is not None:
        count = int(rng.integers(0, num_templates, endpoint=True))
        order = rng.permutation(num_templates)
    chosen = order[: min(count, config.max_templates)]
    return Templates(*(values[chosen] for values in templates))


def template_features(templates: Templates) -> dict[str, np.ndarray]:
    """Features of these templates: at least one row, masked if there is no template."""
    mask = templates.mask.astype(np.float32)
    aatype = templates.aatype.astype(np.int64)
    beta, beta_mask = pseudo_beta(aatype, templates.positions, mask)
    features = {
        "template_mask": np.ones(len(aatype), np.float32),
        "template_aatype": aatype,
        "template_all_atom_positions": templates.positions,
        "template_all_atom_mask": mask,
        "template_sum_probs": templates.sum_probs,
        "template_pseudo_beta": beta,
        "template_pseudo_beta_mask": beta_mask,
    }
    for name, values in torsion_angles(aatype, templates.positions, mask).items():
        features[f"template_{name}"] = values
    if len(aatype):
        return features
    return {name: np.zeros((1, *v.shape[1:]), v.dtype) for name, v in features.items()}
