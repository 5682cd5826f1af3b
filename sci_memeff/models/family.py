"""What is known of other people's models: which of their modules may be sliced, or recomputed.

A family is a package's models, and its hints are data: classes are named, not imported, so that
nothing here needs the package. What a hint says is put into a model with a rule on the seam
`forward`, whose use a planner chooses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from torch import nn

__all__ = ["Family", "Kind", "SeamHint", "families_in", "hints_in"]

Kind = Literal["slice", "sum", "recompute"]


@dataclass(frozen=True, kw_only=True)
class SeamHint:
    """What may be done to the forward of every module of a class, exactly.

    kind "slice": it may be walked. `in_dims` names the arguments that are rows, and the dimension
    of each, and `out_dims` where the slices of its outputs are joined, as `sliced` takes them. All
    other arguments are shared.
    kind "sum": its outputs at `sums` are sums over rows, which `in_dims` names, and may be added
    up from parts, as `summed` does it.
    kind "recompute": it is a unit, worth a checkpoint of its own, and no more than a function of
    its arguments, its parameters and the random generators.

    Subclasses are meant too. What a module's arguments are may depend on who calls it: with
    `inside`, only modules whose parent is of that class are meant; with `called`, only those that
    have this name there. `note` says why, for a reader.
    """

    module_class: str  # where it is defined: "package.module.Class"
    kind: Kind
    seam: Literal["forward"] = "forward"
    in_dims: Mapping[str | int, int] = field(default_factory=dict, hash=False)
    out_dims: int | tuple[int, ...] = -2
    sums: tuple[int, ...] = (0,)
    inside: str | None = None
    called: str | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Family:
    """The models of one package. Of several hints of one kind for a module, the first holds."""

    name: str  # as on the command line
    package: str  # as it is imported
    seams: tuple[SeamHint, ...]
    tested_with: str  # the package's version that the tests run


def families_in(model: nn.Module, families: Sequence[Family]) -> tuple[Family, ...]:
    """Those whose package defines the class of any module of `model`."""
    packages = {
        one.__module__.partition(".")[0] for part in model.modules() for one in type(part).__mro__
    }
    return tuple(family for family in families if family.package in packages)


def hints_in(model: nn.Module, families: Sequence[Family]) -> dict[str, tuple[SeamHint, ...]]:
    """By the name of the module, as `named_modules` gives it: at most one hint of each kind."""
    known = families_in(model, families)
    parents = {child: part for part in model.modules() for child in part.children()}
    found: dict[str, tuple[SeamHint, ...]] = {}
    for name, part in model.named_modules() if known else ():
        first: dict[Kind, SeamHint] = {}
        for family in known:
            for hint in family.seams:
                if _is_meant(hint, part, name, parents.get(part)):
                    first.setdefault(hint.kind, hint)
        if first:
            found[name] = tuple(first.values())
    return found


def _is_meant(hint: SeamHint, part: nn.Module, name: str, parent: nn.Module | None) -> bool:
    return (
        _is_a(part, hint.module_class)
        and (hint.called is None or name.rpartition(".")[2] == hint.called)
        and (hint.inside is None or (parent is not None and _is_a(parent, hint.inside)))
    )


def _is_a(part: nn.Module, name: str) -> bool:
    return any(f"{one.__module__}.{one.__qualname__}" == name for one in type(part).__mro__)
