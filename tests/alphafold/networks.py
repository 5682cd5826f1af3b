"""A small network and features for it, in float64, with masks that hold zeros and ones."""

from __future__ import annotations

from typing import TypeVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from sci_memeff.alphafold.config import ModelConfig

M = TypeVar("M", bound=nn.Module)

SMALL = ModelConfig(
    c_m=16,
    c_z=12,
    c_s=20,
    c_e=10,
    c_t=8,
    num_evoformer_blocks=2,
    num_extra_msa_blocks=1,
    num_template_blocks=1,
    num_structure_iterations=3,
    num_heads_msa=2,
    num_heads_pair=2,
    num_heads_ipa=3,
    c_hidden_msa=4,
    c_hidden_extra_msa=3,
    c_hidden_opm=3,
    c_hidden_triangle_multiplication=6,
    c_hidden_triangle_attention=4,
    c_hidden_template_attention=3,
    c_hidden_template_multiplication=5,
    c_hidden_ipa=4,
    c_resnet=8,
    c_plddt=8,
    num_query_points=2,
    num_value_points=3,
)


def redrawn(module: M, seed: int = 0) -> M:
    """Random parameters in float64, evaluation mode: layers that start at zero hide differences."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            if parameter.ndim > 1:
                parameter.copy_(noise * parameter.shape[-1] ** -0.5)
            else:
                parameter.add_(0.3 * noise)
    return module


def random_mask(*shape: int, generator: torch.Generator) -> Tensor:
    """Zeros and ones, the ones along the first row and column: no line is without any."""
    mask = (torch.rand(shape, generator=generator) < 0.7).double()
    mask[..., 0] = 1
    if len(shape) > 1:
        mask[..., 0, :] = 1
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    return mask


def random_batch(
    batch: int = 1, residues: int = 7, passes: int = 1, templates: int = 2, seed: int = 0
) -> dict[str, Tensor]:
    """Every feature that the network reads, (batch, …, passes); 4 MSA rows and 5 extra ones."""
    g = torch.Generator().manual_seed(seed)
    b, n, t, s, e, r = batch, residues, templates, 4, 5, passes

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    def whole(high: int, *shape: int) -> Tensor:
        return torch.randint(high, shape, generator=g)

    def mask(*shape: int) -> Tensor:
        return random_mask(r, *shape, generator=g).movedim(0, -1)

    seq_mask = torch.ones(b, n, r, dtype=torch.float64)
    seq_mask[:, -2:] = 0
    torsions = F.normalize(normal(b, t, n, 7, 2, r), dim=-2)
    features = {
        "aatype": whole(21, b, n, 1).expand(b, n, r),
        "residue_index": torch.arange(n)[None, :, None].expand(b, n, r),
        "seq_mask": seq_mask,
        "target_feat": normal(b, n, 22, r),
        "msa_feat": normal(b, s, n, 49, r),
        "msa_mask": mask(b, s, n) * seq_mask[:, None],
        "extra_msa": whole(23, b, e, n, r),
        "extra_has_deletion": mask(b, e, n),
        "extra_deletion_value": normal(b, e, n, r),
        "extra_msa_mask": mask(b, e, n) * seq_mask[:, None],
        "template_mask": torch.ones(b, t, r, dtype=torch.float64),
        "template_aatype": whole(22, b, t, n, r),
        "template_all_atom_positions": 10 * normal(b, t, n, 37, 3, r),
        "template_all_atom_mask": mask(b, t, n, 37),
        "template_pseudo_beta": 10 * normal(b, t, n, 3, r),
        "template_pseudo_beta_mask": mask(b, t, n),
        "template_torsion_angles_sin_cos": torsions,
        "template_alt_torsion_angles_sin_cos": -torsions,
        "template_torsion_angles_mask": mask(b, t, n, 7) * seq_mask[:, None, :, None],
        "atom37_atom_exists": mask(b, n, 37),
    }
    features["template_mask"][:, -1] = 0
    return features
