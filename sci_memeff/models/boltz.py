"""boltz: the trunks of Boltz-1 and Boltz-2, which are Pairformer and MSA module."""

from __future__ import annotations

from sci_memeff.models.family import Family, SeamHint

__all__ = ["BOLTZ"]

_LAYERS = "boltz.model.layers"
_TRANSITION = f"{_LAYERS}.transition.Transition"

_UNITS = (
    f"{_LAYERS}.pairformer.PairformerLayer",
    f"{_LAYERS}.pairformer.PairformerNoSeqLayer",
    "boltz.model.modules.trunk.MSALayer",  # Boltz-1's, like the next
    "boltz.model.modules.trunk.PairformerLayer",
    "boltz.model.modules.trunkv2.MSALayer",  # Boltz-2's
    f"{_LAYERS}.triangular_mult.TriangleMultiplicationOutgoing",
    f"{_LAYERS}.triangular_mult.TriangleMultiplicationIncoming",
    f"{_LAYERS}.triangular_attention.attention.TriangleAttention",
    f"{_LAYERS}.outer_product_mean.OuterProductMean",
    f"{_LAYERS}.pair_averaging.PairWeightedAveraging",
    f"{_LAYERS}.attention.AttentionPairBias",
    f"{_LAYERS}.attentionv2.AttentionPairBias",
    _TRANSITION,
)


def _transition(called: str | None, dim: int) -> SeamHint:
    return SeamHint(
        module_class=_TRANSITION, kind="slice", in_dims={"x": dim}, out_dims=dim, called=called
    )


BOLTZ = Family(
    name="boltz",
    package="boltz",
    tested_with="2.2.1",
    seams=(
        *(SeamHint(module_class=name, kind="recompute") for name in _UNITS),
        SeamHint(
            module_class=f"{_LAYERS}.triangular_attention.primitives.Attention",
            kind="slice",
            in_dims={"q_x": -3, "kv_x": -3, "mask_bias": -4, "mask": -4},
            out_dims=-3,
            inside=f"{_LAYERS}.triangular_attention.attention.TriangleAttention",
            note="rows of the pairs; the triangle's bias is shared",
        ),
        SeamHint(
            module_class=f"{_LAYERS}.pair_averaging.PairWeightedAveraging",
            kind="slice",
            in_dims={"m": -3},
            out_dims=-3,
            note="sequences; the weights are computed from the pairs again for every slice",
        ),
        _transition("transition_z", -3),
        _transition("z_transition", -3),
        _transition("msa_transition", -3),
        _transition(None, -2),
    ),
)
