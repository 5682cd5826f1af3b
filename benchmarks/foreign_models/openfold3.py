"""openfold3's Pairformer stack, at the widths of AlphaFold 3."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Literal

import torch
from torch import Tensor, nn

from foreign_models.case import Case, redrawn
from sci_memeff import Plan, Rule
from sci_memeff.checkpointing import Host, recomputed
from sci_memeff.chunking import sliced

__all__ = ["bar", "small", "small_with_msa"]

BLOCK = "blocks.<0-47>"
ATTENTION = sliced(32, {"q_x": -3, "kv_x": -3, "biases": -4}, -3)
LEAN = Plan(
    rules=(
        Rule(where=BLOCK, seam="forward", use=recomputed(Host())),
        Rule(where=f"{BLOCK}.pair_stack.tri_mul_???", seam="forward", use=recomputed()),
        Rule(where=f"{BLOCK}.pair_stack.tri_mul_??", seam="forward", use=recomputed()),
        Rule(where="*.tri_att_*.mha", seam="forward", use=ATTENTION),
        Rule(where="*.pair_transition", seam="forward", use=sliced(32, {"x": -3, "mask": -2}, -3)),
    )
)


def bar(own: bool = False, blocks: int = 48, tokens: int = 384) -> Case:
    """All blocks in bf16; with `own`, under the package's checkpoint around each of them."""
    widths = {"c_s": 384, "c_z": 128, "c_hidden_pair_bias": 24, "no_heads_pair_bias": 16}
    pairs = {"c_hidden_mul": 128, "c_hidden_pair_att": 32, "no_heads_pair": 4}
    return Case(
        title=f"openfold3's PairFormerStack, {blocks} blocks, {tokens} tokens, bf16",
        model=lambda: _stack(blocks, 4, 1 if own else None, **widths, **pairs).bfloat16(),
        step=_step,
        batch=_batch(tokens, 384, 128, torch.bfloat16, "meta"),
        lean=LEAN,
        by_hand=Plan(rules=(Rule(where=BLOCK, seam="forward", use=recomputed()),)),
    )


SMALL = {"c_z": 8, "c_hidden_mul": 8, "c_hidden_pair_att": 4, "no_heads_pair": 2}


def small() -> Case:
    """In float64, with dropout."""
    torch.manual_seed(0)
    widths = {"c_s": 12, "c_hidden_pair_bias": 4, "no_heads_pair_bias": 3}
    return Case(
        title="two blocks, 11 tokens, float64",
        model=redrawn(_stack(2, 2, None, **widths, **SMALL)),
        step=_step,
        batch=_batch(11, 12, 8, torch.float64, "cpu"),
        lean=LEAN,
        by_hand=Plan(rules=(Rule(where=BLOCK, seam="forward", use=recomputed()),)),
    )


def small_with_msa(stack: Literal["msa_module", "evoformer"]) -> Case:
    """The stacks that have an MSA beside the pairs, in float64, with dropout."""
    torch.manual_seed(0)
    sequences, tokens, c_m = 5, 7, 6
    settings: dict[str, Any] = {
        "c_m": c_m,
        "c_hidden_msa_att": 4,
        "c_hidden_opm": 4,
        "no_heads_msa": 2,
        "no_blocks": 2,
        "transition_n": 2,
        "transition_type": "swiglu" if stack == "msa_module" else "relu",
        "msa_dropout": 0.15,
        "pair_dropout": 0.25,
        "fuse_projection_weights": False,
        "blocks_per_ckpt": None,
        "inf": 1e9,
        "eps": 1e-8,
        **SMALL,
    }
    latent = "openfold3.core.model.latent"
    if stack == "msa_module":
        one = import_module(f"{latent}.msa_module").MSAModuleStack
        model = one(opm_first=True, **settings)
    else:
        one = import_module(f"{latent}.evoformer").EvoformerStack
        model = one(opm_first=False, no_column_attention=False, c_s=12, **settings)
    batch = _batch(tokens, 12, SMALL["c_z"], torch.float64, "cpu")
    m = torch.randn(1, sequences, tokens, c_m, dtype=torch.float64)
    return Case(
        title=f"{stack}, two blocks, {sequences} × {tokens}, float64",
        model=redrawn(model.train()),
        step=_step_with_msa,
        batch={
            "m": m.requires_grad_(),
            "z": batch["z"],
            "msa_mask": batch["single_mask"][:, None].repeat(1, sequences, 1),
            "pair_mask": batch["pair_mask"],
        },
        by_hand=Plan(rules=(Rule(where=BLOCK, seam="forward", use=recomputed()),)),
    )


def _step_with_msa(model: nn.Module, batch: dict[str, Any]) -> Tensor:
    found = model(**batch)
    tensors = found if isinstance(found, tuple) else (found,)
    return torch.stack([x.square().mean() for x in tensors]).sum()


def _stack(blocks: int, n: int, per_checkpoint: int | None, **widths: int) -> nn.Module:
    stack = import_module("openfold3.core.model.latent.pairformer").PairFormerStack(
        no_blocks=blocks,
        transition_type="swiglu",
        transition_n=n,
        pair_dropout=0.25,
        fuse_projection_weights=False,
        blocks_per_ckpt=per_checkpoint,
        inf=1e9,
        use_reentrant=False,
        **widths,
    )
    return stack.train()


def _batch(tokens: int, c_s: int, c_z: int, dtype: torch.dtype, device: str) -> dict[str, Tensor]:
    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=dtype, device=device)

    mask = torch.ones(1, tokens, dtype=dtype, device=device)
    mask[:, -2:] = 0
    return {
        "s": draw(1, tokens, c_s).requires_grad_(),
        "z": draw(1, tokens, tokens, c_z).requires_grad_(),
        "single_mask": mask,
        "pair_mask": mask[:, :, None] * mask[:, None, :],
    }


def _step(model: nn.Module, batch: dict[str, Any]) -> Tensor:
    s, z = model(**batch)
    return s.float().square().mean() + z.float().square().mean()
