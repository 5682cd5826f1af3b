"""How near a predicted structure is to the experimental one.

Positions are in Å, one point per residue (Cα as a rule), with a mask of the points that are known
in the experiment; scores are fractions from 0 to 1. Every function takes leading batch
dimensions, scores in float32 or better, and raises BadDataError where the shapes do not fit.
A structure without a known point scores NaN.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from sci_memeff._types import Mask
from sci_memeff.alphafold.geometry.superposition import superposition
from sci_memeff.chemistry import ATOM37_INDEX
from sci_memeff.errors import BadDataError

__all__ = ["gdt_ts", "lddt", "lddt_ca", "rmsd", "superimpose", "tm_score"]

EPS = 1e-10
LDDT_THRESHOLDS = (0.5, 1.0, 2.0, 4.0)  # Å
GDT_CUTOFFS = (1.0, 2.0, 4.0, 8.0)  # Å
SHORTEST_FRAGMENT = 4  # residues that a search for a superposition starts from
ROUNDS = 20


def lddt(
    predicted: Float[Tensor, "*b n 3"],
    true: Float[Tensor, "*b n 3"],
    mask: Mask[Tensor, "*b n"],
    cutoff: float = 15.0,
) -> Float[Tensor, "*b"]:
    """Share of the distances below `cutoff` in the experiment that the prediction keeps.

    The mean over tolerances of 0.5, 1, 2 and 4 Å (Mariani et al., 2013). No superposition; a
    mirror image scores as well as the molecule. NaN where no two points are within the cut-off.
    """
    kept, scored = _kept_distances(predicted, true, mask, cutoff)
    return kept.sum((-1, -2)) / scored.sum((-1, -2))


def lddt_ca(
    predicted: Float[Tensor, "*b n 37 3"],
    true: Float[Tensor, "*b n 37 3"],
    mask: Mask[Tensor, "*b n 37"],
) -> Float[Tensor, "*b"]:
    """`lddt` of the Cα atoms of whole residues."""
    ca = ATOM37_INDEX["CA"]
    return lddt(predicted[..., ca, :], true[..., ca, :], mask[..., ca])


def superimpose(
    moving: Float[Tensor, "*b n 3"], target: Float[Tensor, "*b n 3"], mask: Mask[Tensor, "*b n"]
) -> Float[Tensor, "*b n 3"]:
    """All of `moving`, moved as a rigid body to where the points of the mask fit `target` best."""
    _check_shapes(moving, target, mask)
    return superposition(moving, target, mask).unsqueeze(-1).apply(moving)


def rmsd(
    predicted: Float[Tensor, "*b n 3"], true: Float[Tensor, "*b n 3"], mask: Mask[Tensor, "*b n"]
) -> Float[Tensor, "*b"]:
    """Root mean square distance after superposition, Å."""
    _check_shapes(predicted, true, mask)
    predicted, true = _precise(predicted), _precise(true)
    known = mask > 0
    moved = superimpose(predicted, true, mask)
    squares = torch.where(known[..., None], moved - true, 0.0).square().sum((-1, -2))
    return (squares / known.sum(-1)).sqrt()


def gdt_ts(
    predicted: Float[Tensor, "*b n 3"], true: Float[Tensor, "*b n 3"], mask: Mask[Tensor, "*b n"]
) -> Float[Tensor, "*b"]:
    """Mean share of points that one superposition brings within 1, 2, 4 and 8 Å (Zemla, 2003).

    Each cut-off has its own superposition, found by a search: a lower bound, rarely short of the
    maximum by more than a few points.
    """

    def score(x: Tensor, y: Tensor) -> Tensor:
        shares = [
            _best_score(x, y, cutoff, lambda distance, c=cutoff: (distance <= c).double().mean(-1))
            for cutoff in GDT_CUTOFFS
        ]
        return torch.stack(shares).mean()

    return _score_each(predicted, true, mask, score)


def tm_score(
    predicted: Float[Tensor, "*b n 3"], true: Float[Tensor, "*b n 3"], mask: Mask[Tensor, "*b n"]
) -> Float[Tensor, "*b"]:
    """Mean of 1/(1 + (d/d₀)²) over the known points, the most any superposition gives.

    d₀ = 1.24·∛(L − 15) − 1.8 Å for L known points, at least 0.5 Å (Zhang & Skolnick, 2004). The
    superposition is found by a search: a lower bound.
    """

    def score(x: Tensor, y: Tensor) -> Tensor:
        d0 = max(0.5, 1.24 * max(0, len(y) - 15) ** (1 / 3) - 1.8)
        radius = min(max(d0, 4.5), 8.0)
        return _best_score(x, y, radius, lambda d: (1 / (1 + (d / d0).square())).mean(-1))

    return _score_each(predicted, true, mask, score)


def _kept_distances(
    predicted: Tensor, true: Tensor, mask: Tensor, cutoff: float
) -> tuple[Tensor, Tensor]:
    """(*b, n, n): the share of tolerances each scored distance meets, and which are scored."""
    _check_shapes(predicted, true, mask)
    distance, true_distance = (
        (EPS + (x[..., :, None, :] - x[..., None, :, :]).square().sum(-1)).sqrt()
        for x in (_precise(predicted), _precise(true))
    )
    known = mask > 0
    others = ~torch.eye(mask.shape[-1], dtype=torch.bool, device=mask.device)
    scored = (true_distance < cutoff) & known[..., :, None] & known[..., None, :] & others
    change = (distance - true_distance).abs()
    met = torch.stack([change < threshold for threshold in LDDT_THRESHOLDS]).to(distance).mean(0)
    return met * scored, scored.to(met)


def _score_each(
    predicted: Tensor, true: Tensor, mask: Tensor, score: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """`score` of the known points of each structure of a batch."""
    _check_shapes(predicted, true, mask)
    known = (mask > 0).flatten(0, -2) if mask.ndim > 1 else (mask > 0)[None]
    structures = zip(
        predicted.reshape(*known.shape, 3), true.reshape(*known.shape, 3), known, strict=True
    )
    scores = [score(x[where].double(), y[where].double()) for x, y, where in structures]
    return torch.stack(scores).reshape(mask.shape[:-1]).to(_precise(predicted).dtype)


@torch.no_grad()
def _best_score(
    x: Float[Tensor, "n 3"],
    y: Float[Tensor, "n 3"],
    radius: float,
    score: Callable[[Tensor], Tensor],
) -> Float[Tensor, ""]:
    """The best `score(distances)` over superpositions found from many starts, as TM-score does.

    Fragments of n, n/2, n/4 … residues, each overlapping the next by half, are superposed, then
    whatever lies within `radius` (never fewer than 3 points), until nothing changes.
    """
    if len(x) == 0:
        return x.new_tensor(torch.nan)
    chosen = _fragments(len(x)).to(x.device)
    moving, target = x.expand(len(chosen), -1, -1), y.expand(len(chosen), -1, -1)
    best = x.new_zeros(())
    for _ in range(ROUNDS):
        distance = (superimpose(moving, target, chosen) - target).norm(dim=-1)
        best = torch.maximum(best, score(distance).max())
        reach = distance.kthvalue(min(3, len(x)), dim=-1, keepdim=True).values.clamp(min=radius)
        before, chosen = chosen, distance <= reach
        if torch.equal(before, chosen):
            break
    return best


def _fragments(n: int) -> Tensor:
    """(fragments, n) masks of runs of n, n/2, n/4 … residues, half a run apart."""
    masks, length = [], n
    while length >= min(n, SHORTEST_FRAGMENT):
        for start in sorted({*range(0, n - length, max(1, length // 2)), n - length}):
            mask = torch.zeros(n, dtype=torch.bool)
            mask[start : start + length] = True
            masks.append(mask)
        length //= 2
    return torch.stack(masks)


def _precise(x: Tensor) -> Tensor:
    """At least float32: half precision holds positions to a tenth of an Å."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _check_shapes(predicted: Tensor, true: Tensor, mask: Tensor) -> None:
    if predicted.shape != true.shape or predicted.shape != (*mask.shape, 3):
        shapes = ", ".join(str(tuple(x.shape)) for x in (predicted, true, mask))
        raise BadDataError(
            f"predicted, true and mask have shapes {shapes}",
            source="structures to compare",
            mend="give positions as (..., residues, 3) twice, and their mask as (..., residues)",
        )
