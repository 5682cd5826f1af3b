"""openfold3: AlphaFold 3's Pairformer and MSA module, and AlphaFold 2's Evoformer.

Where a layer has a large operand that all of its rows share, such as the bias of a triangle
attention, the attention inside of it is what may be sliced: it is given that operand.
"""

from __future__ import annotations

from sci_memeff.models.family import Family, SeamHint

__all__ = ["OPENFOLD3"]

_MODEL = "openfold3.core.model"
_ATTENTION = f"{_MODEL}.primitives.attention.Attention"
_TRANSITION = f"{_MODEL}.layers.transition.Transition"
_MSA = f"{_MODEL}.layers.msa"
_TRIANGLE = f"{_MODEL}.layers.triangular_attention.TriangleAttention"

_BLOCKS = (
    "pairformer.PairFormerBlock",
    "base_blocks.MSABlock",  # of the MSA module and of the Evoformer
    "template_module.TemplatePairBlock",
)
_LAYERS = (
    f"{_MODEL}.layers.triangular_multiplicative_update.BaseTriangleMultiplicativeUpdate",
    f"{_MODEL}.layers.outer_product_mean.OuterProductMean",
    f"{_MODEL}.layers.attention_pair_bias.AttentionPairBias",
    f"{_MSA}.MSAAttention",
    f"{_MSA}.MSAColumnAttention",
    f"{_MSA}.MSAColumnGlobalAttention",
    f"{_MSA}.MSAPairWeightedAveraging",
    _TRIANGLE,
    _TRANSITION,
)
# q_x and kv_x are (*, rows, j, c), the mask's bias (*, rows, 1, 1, j); of the pairs' bias,
# (*, 1, h, i, j), there is one for all rows
_ROWS_OF_ATTENTION: dict[str | int, int] = {"q_x": -3, "kv_x": -3, "biases": -4}


def _transition(inside: str | None, dim: int) -> SeamHint:
    return SeamHint(
        module_class=_TRANSITION,
        kind="slice",
        in_dims={"x": dim, "mask": dim + 1},
        out_dims=dim,
        inside=inside,
    )


OPENFOLD3 = Family(
    name="openfold3",
    package="openfold3",
    tested_with="0.5.0",
    seams=(
        *(SeamHint(module_class=f"{_MODEL}.latent.{name}", kind="recompute") for name in _BLOCKS),
        *(SeamHint(module_class=name, kind="recompute") for name in _LAYERS),
        *(
            SeamHint(
                module_class=_ATTENTION,
                kind="slice",
                in_dims=_ROWS_OF_ATTENTION,
                out_dims=-3,
                inside=parent,
                note="rows of the pairs or of the MSA; the pair bias is shared",
            )
            for parent in (_TRIANGLE, f"{_MSA}.MSAAttention")
        ),
        SeamHint(
            module_class=f"{_MSA}.MSAColumnAttention",
            kind="slice",
            in_dims={"m": -2, "mask": -1},
            out_dims=-2,
            note="residues",
        ),
        SeamHint(
            module_class=f"{_MSA}.MSAColumnGlobalAttention",
            kind="slice",
            in_dims={"m": -2, "mask": -1},
            out_dims=-2,
            note="residues",
        ),
        SeamHint(
            module_class=f"{_MSA}.MSAPairWeightedAveraging",
            kind="slice",
            in_dims={"m": -3},
            out_dims=-3,
            note="sequences; the weights are computed from the pairs again for every slice",
        ),
        _transition(f"{_MODEL}.latent.base_blocks.PairBlock", -3),
        _transition(f"{_MODEL}.latent.base_blocks.MSABlock", -3),
        _transition(None, -2),
    ),
)
