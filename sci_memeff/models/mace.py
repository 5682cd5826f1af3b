"""mace-torch: interatomic potentials whose bytes are messages along edges.

An interaction's messages are projected after they were added up at their atoms, without a bias, so
that the interaction itself is a sum over edges. Where the sum is normalised by a learnt density, or
followed by a nonlinearity, it is not. Training on forces differentiates twice: recomputation and
sums hold there, walks refuse.
"""

from __future__ import annotations

from sci_memeff.models.family import Family, SeamHint

__all__ = ["MACE"]

_BLOCKS = "mace.modules.blocks"
_SUMS = (
    "RealAgnosticInteractionBlock",
    "RealAgnosticResidualInteractionBlock",
    "RealAgnosticAttResidualInteractionBlock",
)

MACE = Family(
    name="mace",
    package="mace",
    tested_with="0.3.16",
    seams=(
        SeamHint(module_class=f"{_BLOCKS}.InteractionBlock", kind="recompute"),
        SeamHint(module_class=f"{_BLOCKS}.EquivariantProductBasisBlock", kind="recompute"),
        *(
            SeamHint(
                module_class=f"{_BLOCKS}.{name}",
                kind="sum",
                in_dims={"edge_attrs": -2, "edge_feats": -2, "edge_index": -1, "cutoff": -2},
                note="edges: messages are added up at their atoms",
            )
            for name in _SUMS
        ),
        SeamHint(
            module_class="mace.modules.symmetric_contraction.Contraction",
            kind="slice",
            in_dims={"x": -3, "y": -2},
            note="atoms; what a product computes besides is little",
        ),
    ),
)
