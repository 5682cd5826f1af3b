"""Boltz-2's trunk: the MSA module and the Pairformer, at its released widths."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from foreign_models.case import Case, doubles_stay_double, redrawn
from foreign_models.torchvision_names import declare_torchvision
from sci_memeff import Plan, Rule
from sci_memeff.checkpointing import Host, recomputed
from sci_memeff.chunking import sliced

__all__ = ["bar", "small"]

TYPES = 33  # of residues, as boltz counts them


class Trunk(nn.Module):
    """What a recycling pass of the model runs, without what embeds the inputs before it."""

    def __init__(self, c_s: int, c_z: int, c_m: int, blocks: int, msa_blocks: int, own: bool):
        super().__init__()
        self.msa_module = import_module("boltz.model.modules.trunkv2").MSAModule(
            msa_s=c_m,
            token_z=c_z,
            token_s=c_s,
            msa_blocks=msa_blocks,
            msa_dropout=0.15,
            z_dropout=0.25,
            activation_checkpointing=own,
        )
        pairformer: Any = import_module("boltz.model.layers.pairformer")
        self.pairformer_module = pairformer.PairformerModule(
            c_s, c_z, blocks, 4 if c_s < 384 else 16, 0.25, activation_checkpointing=own, v2=True
        )

    def forward(self, s: Tensor, z: Tensor, feats: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        z = z + self.msa_module(z, s, feats)
        mask = feats["token_pad_mask"]
        return self.pairformer_module(s, z, mask=mask, pair_mask=mask[:, :, None] * mask[:, None])


BY_HAND = Plan(
    rules=(
        Rule(where="pairformer_module.layers.<0-63>", seam="forward", use=recomputed()),
        Rule(where="msa_module.layers.<0-3>", seam="forward", use=recomputed()),
    )
)

ATTENTION = sliced(32, {"q_x": -3, "kv_x": -3, "mask_bias": -4, "mask": -4}, -3)
USES = {
    "pairformer_module.layers.<0-63>": recomputed(Host()),
    "msa_module.layers.<0-3>": recomputed(Host()),
    "*.tri_mul_out": recomputed(),
    "*.tri_mul_in": recomputed(),
    "*.outer_product_mean": recomputed(),
    "*.tri_att_*.mha": ATTENTION,
    "*.transition_z": sliced(32, {"x": -3}, -3),
    "*.msa_transition": sliced(128, {"x": -3}, -3),
    "*.pair_weighted_averaging": sliced(128, {"m": -3}, -3),
}
LEAN = Plan(rules=tuple(Rule(where=x, seam="forward", use=use) for x, use in USES.items()))


def bar(own: bool = False, blocks: int = 64, tokens: int = 384, sequences: int = 1024) -> Case:
    """All of it in fp32; with `own`, under the package's checkpoint around each block."""
    declare_torchvision()
    return Case(
        title=f"Boltz-2's trunk, 4 + {blocks} blocks, {sequences} × {tokens}, fp32",
        model=lambda: Trunk(384, 128, 64, blocks, 4, own).train(),
        step=_step,
        batch=_batch(tokens, sequences, 384, 128, torch.float32, "meta"),
        lean=LEAN,
        by_hand=BY_HAND,
    )


def small() -> Case:
    """In float64, with dropout."""
    declare_torchvision()
    torch.manual_seed(0)
    return Case(
        title="1 + 2 blocks, 5 × 9, float64",
        model=redrawn(Trunk(16, 8, 8, 2, 1, False).train()),
        step=_step,
        batch=_batch(9, 5, 16, 8, torch.float64, "cpu"),
        lean=LEAN,
        by_hand=BY_HAND,
        around=doubles_stay_double,
    )


def _batch(
    tokens: int, sequences: int, c_s: int, c_z: int, dtype: torch.dtype, device: str
) -> dict[str, Any]:
    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=dtype, device=device)

    def mask(*shape: int) -> Tensor:
        found = torch.ones(shape, dtype=dtype, device=device)
        found[..., -2:] = 0
        return found

    rows = (1, sequences, tokens)
    feats = {
        "msa": torch.randint(TYPES, rows, device=device),
        "has_deletion": mask(*rows),
        "deletion_value": draw(*rows),
        "msa_paired": mask(*rows),
        "msa_mask": mask(*rows),
        "token_pad_mask": mask(1, tokens),
    }
    return {
        "s": draw(1, tokens, c_s).requires_grad_(),
        "z": draw(1, tokens, tokens, c_z).requires_grad_(),
        "feats": feats,
    }


def _step(model: nn.Module, batch: dict[str, Any]) -> Tensor:
    s, z = model(**batch)
    return s.square().mean() + z.square().mean()
