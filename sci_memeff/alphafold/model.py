"""AlphaFold 2's monomer network (Algorithm 2), with recycling.

Axes: s MSA clusters, e extra MSA rows, i residues, r passes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sci_memeff.alphafold.confidence import confidences
from sci_memeff.alphafold.config import ModelConfig
from sci_memeff.alphafold.embedders import ExtraMSAEmbedder, InputEmbedder, RecyclingEmbedder
from sci_memeff.alphafold.evoformer import EvoformerStack, ExtraMSAStack
from sci_memeff.alphafold.features import check_features, feature_names, one_pass
from sci_memeff.alphafold.geometry import atom14_to_atom37, pseudo_beta
from sci_memeff.alphafold.heads import AuxiliaryHeads
from sci_memeff.alphafold.structure_module import StructureModule
from sci_memeff.alphafold.templates import TemplateEmbedder

__all__ = ["AlphaFold"]


@dataclass(frozen=True)
class _Previous:
    """What one pass hands to the next."""

    m_first: Tensor
    z: Tensor
    positions: Tensor  # atom37, Å


class AlphaFold(nn.Module):
    """The network. Parameters carry the names of OpenFold v2's, and so fit its checkpoints."""

    def __init__(self, config: ModelConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or ModelConfig()
        self.input_embedder = InputEmbedder(config)
        self.recycling_embedder = RecyclingEmbedder(config)
        self.template_embedder = TemplateEmbedder(config) if config.templates else None
        self.extra_msa_embedder = ExtraMSAEmbedder(config)
        self.extra_msa_stack = ExtraMSAStack(config)
        self.evoformer = EvoformerStack(config)
        self.structure_module = StructureModule(config)
        self.aux_heads = AuxiliaryHeads(config)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor | dict[str, Tensor]]:
        """Predict, from the features that `alphafold.features` lists, OpenFold v2's as well.

        Every feature carries the recycling passes as its last dimension, and only the last pass
        keeps a gradient (Suppl. 1.10). Floats may be of any dtype: the layers compute in that of
        their parameters, positions in float32 at least. Returns `msa` (*b, s, i, c_m), `pair`
        (*b, i, i, c_z), `single` (*b, i, c_s), `sm` (see StructureModule), `final_atom_positions`
        (*b, i, 37, 3) in Å and `final_atom_mask`, the logits of every head, and the confidences
        `plddt` (*b, i), 0 to 100, and with ptm `predicted_aligned_error` (*b, i, i) in Å, `ptm`.
        BadDataError where a feature is missing or has another number of passes.
        """
        names = feature_names(self.config)
        passes = check_features(batch, names)
        previous = None
        with torch.no_grad():
            for i in range(passes - 1):
                previous = _hand_on(self.fold(one_pass(batch, names, i), previous))
        features = one_pass(batch, names, passes - 1)
        outputs = self.fold(features, previous)
        outputs |= self.aux_heads(
            outputs["msa"], outputs["pair"], outputs["single"], outputs["sm"]["states"]
        )
        return outputs | confidences(outputs, features["seq_mask"])

    def fold(self, features: dict[str, Tensor], previous: _Previous | None) -> dict:
        """One pass, without heads."""
        m, z, msa_mask = self.embed(features, previous)
        pair_mask = _pair_mask(features, z)
        rows = features["msa_feat"].shape[-3]
        m, z, single = self.evoformer(m, z, msa_mask, pair_mask)
        structure = self.structure_module(single, z, features["aatype"], features["seq_mask"])
        positions = atom14_to_atom37(structure["positions"], features["aatype"])
        exists = features["atom37_atom_exists"]
        return {
            "msa": m[..., :rows, :, :],
            "pair": z,
            "single": single,
            "sm": structure,
            "final_atom_positions": positions * exists[..., None].to(positions.dtype),
            "final_atom_mask": exists,
        }

    def embed(
        self, features: dict[str, Tensor], previous: _Previous | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """m, z and the mask of m's rows, with recycling, templates and the extra MSA in them."""
        m, z = self.input_embedder(
            features["target_feat"], features["residue_index"], features["msa_feat"]
        )
        previous = previous or _nothing_before(m, z)
        m_first, z_update = self.recycling_embedder(
            previous.m_first, previous.z, pseudo_beta(features["aatype"], previous.positions)
        )
        m = torch.cat([(m[..., 0, :, :] + m_first)[..., None, :, :], m[..., 1:, :, :]], dim=-3)
        z = z + z_update
        msa_mask, pair_mask = features["msa_mask"].to(m.dtype), _pair_mask(features, z)
        if self.template_embedder is not None:
            z = z + self.template_embedder(features, z, pair_mask)
            rows = self.template_embedder.rows(features)
            if rows is not None:
                m = torch.cat([m, rows[0]], dim=-3)
                msa_mask = torch.cat([msa_mask, rows[1].to(msa_mask.dtype)], dim=-2)
        extra = self.extra_msa_embedder(
            features["extra_msa"], features["extra_has_deletion"], features["extra_deletion_value"]
        )
        extra_mask = features["extra_msa_mask"].to(extra.dtype)
        z = self.extra_msa_stack(extra, z, extra_mask, pair_mask)
        return m, z, msa_mask


def _pair_mask(features: dict[str, Tensor], z: Tensor) -> Tensor:
    mask = features["seq_mask"].to(z.dtype)
    return mask[..., :, None] * mask[..., None, :]


def _nothing_before(m: Tensor, z: Tensor) -> _Previous:
    """Before the first pass everything is zero, all atoms at the origin included."""
    first = torch.zeros_like(m[..., 0, :, :])
    positions = first.new_zeros(
        (*first.shape[:-1], 37, 3), dtype=torch.promote_types(m.dtype, torch.float32)
    )
    return _Previous(first, torch.zeros_like(z), positions)


def _hand_on(outputs: dict) -> _Previous:
    return _Previous(outputs["msa"][..., 0, :, :], outputs["pair"], outputs["final_atom_positions"])
