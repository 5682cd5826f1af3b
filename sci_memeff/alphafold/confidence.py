"""Confidence measures, expectations over the heads' bins (Supplement 1.9.6 and 1.9.7).

Axes: i j residues.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sci_memeff._types import Mask

__all__ = ["confidences", "expected_plddt", "predicted_aligned_error", "ptm"]

LAST_BREAK = 31.0  # Å, between the last two bins of aligned errors
EPS = 1e-8  # added to the weight that a mean is divided by


@torch.no_grad()
def confidences(
    out: Mapping[str, Any], mask: Mask[Tensor, "*b i"] | None = None
) -> dict[str, Tensor]:
    """What a model says of its own prediction: `plddt` and, with the PAE head, two more.

    `plddt` (*b, i), `predicted_aligned_error` (*b, i, i) and `ptm` (*b,), from `lddt_logits` and
    `tm_logits`; `mask` says which residues are no padding. Without gradient, which nothing in
    training asks for.
    """
    found = {"plddt": expected_plddt(out["lddt_logits"])}
    if "tm_logits" in out:
        found["predicted_aligned_error"] = predicted_aligned_error(out["tm_logits"])
        found["ptm"] = ptm(out["tm_logits"], mask)
    return found


def expected_plddt(logits: Float[Tensor, "*shape bins"]) -> Float[Tensor, "*shape"]:
    """The expected lDDT-Cα of each residue, 0 to 100; bins of equal width (Algorithm 29)."""
    num_bins = logits.shape[-1]
    probabilities = _probabilities(logits)
    centers = (torch.arange(num_bins, device=logits.device) + 0.5).to(probabilities) / num_bins
    return 100.0 * (probabilities * centers).sum(-1)


def predicted_aligned_error(
    logits: Float[Tensor, "*b i j bins"], last_break: float = LAST_BREAK
) -> Float[Tensor, "*b i j"]:
    """The expected error at j, Å, when the true and predicted frames of i are aligned."""
    probabilities = _probabilities(logits)
    return (probabilities * _centers(probabilities, last_break)).sum(-1)


def ptm(
    logits: Float[Tensor, "*b i i bins"],
    mask: Mask[Tensor, "*b i"] | None = None,
    last_break: float = LAST_BREAK,
) -> Float[Tensor, "*b"]:
    """The expected TM-score under the best single alignment (1.9.7, equations 38 to 40).

    `mask`, or weights, says which residues count: all unless given. The length scale is that of 19
    residues at least.
    """
    probabilities = _probabilities(logits)
    mask = logits.new_ones(logits.shape[:-2]) if mask is None else mask
    mask = mask.to(probabilities.dtype)
    d0 = 1.24 * (mask.sum(-1).clamp(min=19) - 15) ** (1 / 3) - 1.8
    centers = _centers(probabilities, last_break)
    score = 1.0 / (1.0 + (centers / d0[..., None]).square())
    expected = (probabilities * score[..., None, None, :]).sum(-1)
    aligned = (expected * mask[..., None, :]).sum(-1) / (EPS + mask.sum(-1, keepdim=True))
    best = (aligned * mask).argmax(-1, keepdim=True)
    return aligned.gather(-1, best).squeeze(-1)


def _probabilities(logits: Float[Tensor, "*shape bins"]) -> Float[Tensor, "*shape bins"]:
    """In float32 at least: bins of 16 bits would be centred a quarter of an Å off."""
    return logits.softmax(-1, dtype=torch.promote_types(logits.dtype, torch.float32))


def _centers(like: Float[Tensor, "*shape bins"], last_break: float) -> Float[Tensor, " bins"]:
    """Å. The breaks start at 0, and each bin is taken to lie above its own: AlphaFold 2's way."""
    num_bins = like.shape[-1]
    step = last_break / (num_bins - 2)
    return (torch.arange(num_bins, device=like.device) + 0.5).to(like) * step
