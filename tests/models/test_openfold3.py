"""What is said of openfold3's modules holds for the package that is installed."""

from __future__ import annotations

import warnings
from collections import Counter
from importlib import import_module
from types import ModuleType

import pytest
from torch import nn

from sci_memeff.models import families_in, hints
from sci_memeff.models.openfold3 import OPENFOLD3

pytest.importorskip("openfold3", reason="openfold3 is not installed here")


def imported(name: str) -> ModuleType:
    with warnings.catch_warnings():  # its import sets a global filter, and may miss kernels
        warnings.simplefilter("ignore")
        return import_module(name)


def small_stack(num_blocks: int = 2) -> nn.Module:
    return imported("openfold3.core.model.latent.pairformer").PairFormerStack(
        c_s=12,
        c_z=8,
        c_hidden_pair_bias=4,
        no_heads_pair_bias=3,
        c_hidden_mul=8,
        c_hidden_pair_att=4,
        no_heads_pair=2,
        no_blocks=num_blocks,
        transition_type="swiglu",
        transition_n=2,
        pair_dropout=0.25,
        fuse_projection_weights=False,
        blocks_per_ckpt=None,
        inf=1e9,
    )


@pytest.mark.parametrize("hint", OPENFOLD3.seams, ids=lambda h: h.module_class.rpartition(".")[2])
def test_every_class_that_is_named_is_there(hint):
    for name in filter(None, (hint.module_class, hint.inside)):
        module, _, one = name.rpartition(".")
        assert issubclass(getattr(imported(module), one), nn.Module)


def test_the_pairformer_has_its_hints():
    model = small_stack(3)
    assert families_in(model) == (OPENFOLD3,)
    found = hints(model)
    blocks = {name: found[name] for name in ("blocks.0", "blocks.1", "blocks.2")}
    assert all([hint.kind for hint in some] == ["recompute"] for some in blocks.values())
    kinds = Counter((hint.kind, name.rpartition(".")[2]) for name in found for hint in found[name])
    assert kinds["slice", "mha"] == 6, "two triangle attentions a block, not the single one's"
    assert kinds["slice", "pair_transition"] == kinds["slice", "single_transition"] == 3
    assert kinds["recompute", "tri_mul_out"] == kinds["recompute", "attn_pair_bias"] == 3
    rows = {name: hint.in_dims for name in found for hint in found[name] if hint.kind == "slice"}
    assert rows["blocks.1.pair_stack.pair_transition"] == {"x": -3, "mask": -2}
    assert rows["blocks.1.single_transition"] == {"x": -2, "mask": -1}
