"""microsoft-aurora: a weather model, a Swin U-net between Perceivers over pressure levels.

Its Perceivers treat every patch of the map by itself, in float32, and take a patch's 13 levels for
a sequence: at 0.25° the decoder's makes 842,400 tokens of 64,800 patches.
"""

from __future__ import annotations

from sci_memeff.models.family import Family, SeamHint

__all__ = ["AURORA"]

_MODEL = "aurora.model"

AURORA = Family(
    name="aurora",
    package="aurora",
    tested_with="2.0.1",
    seams=(
        SeamHint(module_class=f"{_MODEL}.swin3d.Swin3DTransformerBlock", kind="recompute"),
        SeamHint(module_class=f"{_MODEL}.perceiver.PerceiverResampler", kind="recompute"),
        SeamHint(
            module_class=f"{_MODEL}.perceiver.PerceiverResampler",
            kind="slice",
            in_dims={"latents": -3, "x": -3},
            out_dims=-3,
            note="patches: levels are aggregated and decoded for each by itself",
        ),
        SeamHint(
            module_class=f"{_MODEL}.swin3d.MLP",
            kind="slice",
            in_dims={"x": -2},
            note="tokens",
        ),
        SeamHint(
            module_class=f"{_MODEL}.perceiver.MLP",
            kind="slice",
            in_dims={"x": -2},
            called="surf_mlp",
            note="tokens",
        ),
    ),
)
