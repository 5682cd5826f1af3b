"""Boltz-2's trunk: the MSA module and the Pairformer, at its released widths."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Literal

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

    def __init__(self, msa_module: nn.Module, pairformer_module: nn.Module) -> None:
        super().__init__()
        self.msa_module, self.pairformer_module = msa_module, pairformer_module

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
    own_checkpoint = {"activation_checkpointing": own}
    return Case(
        title=f"Boltz-2's trunk, 4 + {blocks} blocks, {sequences} × {tokens}, fp32",
        model=lambda: _trunk(384, 128, 64, blocks, 4, 16, **own_checkpoint),
        step=_step,
        batch=_batch(tokens, sequences, 384, 128, torch.float32, "meta"),
        lean=LEAN,
        by_hand=BY_HAND,
    )


def small(version: Literal[1, 2] = 2) -> Case:
    """In float64, with dropout; of Boltz-1, too."""
    declare_torchvision()
    torch.manual_seed(0)
    trunk = _trunk_of_boltz_1 if version == 1 else _trunk
    batch = _batch(9, 5, 16, 8, torch.float64, "cpu")
    if version == 1:  # which takes types as vectors
        batch["feats"]["msa"] = torch.nn.functional.one_hot(batch["feats"]["msa"], TYPES).double()
    return Case(
        title="1 + 2 blocks, 5 × 9, float64",
        model=redrawn(trunk(16, 8, 8, 2, 1, 4)),
        step=_step,
        batch=batch,
        lean=LEAN,
        by_hand=BY_HAND,
        around=doubles_stay_double,
    )


def _trunk(
    c_s: int, c_z: int, c_m: int, blocks: int, msa_blocks: int, heads: int, **settings: Any
) -> nn.Module:
    msa_module = import_module("boltz.model.modules.trunkv2").MSAModule(
        c_m, c_z, c_s, msa_blocks, 0.15, 0.25, **settings
    )
    pairformer = import_module("boltz.model.layers.pairformer").PairformerModule(
        c_s, c_z, blocks, heads, 0.25, v2=True, **settings
    )
    return Trunk(msa_module, pairformer).train()


def _trunk_of_boltz_1(
    c_s: int, c_z: int, c_m: int, blocks: int, msa_blocks: int, heads: int
) -> nn.Module:
    modules: Any = import_module("boltz.model.modules.trunk")
    msa_module = modules.MSAModule(c_m, c_z, c_s, msa_blocks, 0.15, 0.25, use_paired_feature=True)
    return Trunk(msa_module, modules.PairformerModule(c_s, c_z, blocks, heads, 0.25)).train()


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
