"""Which modules of openfold3 have which hints."""

from __future__ import annotations

from collections import Counter

from sci_memeff.models import hints

from .steps import builders, built


def test_the_pairformer_has_its_hints():
    found = hints(built(builders("openfold3").small).model)
    blocks = {name: found[name] for name in ("blocks.0", "blocks.1")}
    assert all([hint.kind for hint in some] == ["recompute"] for some in blocks.values())
    kinds = Counter((hint.kind, name.rpartition(".")[2]) for name in found for hint in found[name])
    assert kinds["slice", "mha"] == 4, "two triangle attentions a block, not the single one's"
    assert kinds["slice", "pair_transition"] == kinds["slice", "single_transition"] == 2
    assert kinds["recompute", "tri_mul_out"] == kinds["recompute", "attn_pair_bias"] == 2
    rows = {name: hint.in_dims for name in found for hint in found[name] if hint.kind == "slice"}
    assert rows["blocks.1.pair_stack.pair_transition"] == {"x": -3, "mask": -2}
    assert rows["blocks.1.single_transition"] == {"x": -2, "mask": -1}
