"""Hints are found by the names of classes, of parents and of bases."""

from __future__ import annotations

import subprocess
import sys

from torch import nn

from sci_memeff.models import FAMILIES
from sci_memeff.models.family import Family, SeamHint, families_in, hints_in

HERE = __name__.partition(".")[0]


class Layer(nn.Module):
    pass


class Special(Layer):
    pass


class Block(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block(Layer()), Block(Special())])
        self.layer = Layer()
        self.last = Layer()


def named(one: type) -> str:
    return f"{__name__}.{one.__name__}"


WHOLE = SeamHint(module_class=named(Layer), kind="recompute")
INNER = SeamHint(module_class=named(Layer), kind="slice", in_dims={"x": -3}, inside=named(Block))
OUTER = SeamHint(module_class=named(Layer), kind="slice", in_dims={"x": -2})
LAST = SeamHint(module_class=named(Layer), kind="sum", in_dims={"x": -1}, called="last")
OURS = Family(name="ours", package=HERE, tested_with="1", seams=(WHOLE, INNER, LAST, OUTER))
OTHER = Family(name="other", package="nowhere", tested_with="1", seams=(WHOLE,))


def test_hints_are_by_class_base_parent_and_name_and_the_first_of_a_kind_holds():
    assert hints_in(Model(), (OTHER, OURS)) == {
        "blocks.0.layer": (WHOLE, INNER),
        "blocks.1.layer": (WHOLE, INNER),
        "layer": (WHOLE, OUTER),
        "last": (WHOLE, LAST, OUTER),
    }


def test_a_family_is_in_a_model_by_its_package():
    assert families_in(Model(), (OTHER, OURS)) == (OURS,)
    assert families_in(nn.Linear(2, 2), (OTHER, OURS)) == ()
    assert hints_in(nn.Linear(2, 2), (OTHER, OURS)) == {}


def test_families_have_names_of_their_own_and_hints_that_can_be_used():
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
    for hint in (hint for family in FAMILIES for hint in family.seams):
        assert bool(hint.in_dims) == (hint.kind != "recompute"), hint
        assert all(dim < 0 for dim in hint.in_dims.values()), hint


def test_no_package_is_imported_for_its_hints():
    code = (
        "import sys, sci_memeff.models as m; print([f.package in sys.modules for f in m.FAMILIES])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout
    assert "True" not in found
    assert "False" in found
