"""Which modules of a model that nobody has prepared are computed again one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import nn

from sci_memeff._forward import has_forward
from sci_memeff.models import SeamHint

__all__ = ["Found", "has_seams", "units_of"]

Found = Mapping[str, tuple[SeamHint, ...]]


def has_seams(module: nn.Module) -> bool:
    """Whether anything in it holds a seam of its own."""
    return any(
        seam in vars(part) for part in module.modules() for seam in ("walk", "iterate", "attend")
    )


def units_of(model: nn.Module, found: Found) -> list[str]:
    """The modules to compute again one by one: each as large as it can be without a stack inside.

    A stack is several modules of one class side by side that are no mere layers. What a hint
    names is taken as it is.
    """
    hinted = {n for n, kinds in found.items() if any(h.kind == "recompute" for h in kinds)}
    return list(_units("", model, hinted))


def _units(name: str, module: nn.Module, hinted: set[str]) -> Iterator[str]:
    if name in hinted:
        yield name
        return
    if name and has_seams(module):
        return
    inside = any(h.startswith(f"{name}." if name else "") for h in hinted)
    if not name or not has_forward(module) or inside or _has_stack(module):
        for key, child in module.named_children():
            yield from _units(f"{name}.{key}" if name else key, child, hinted)
    elif next(module.children(), None) is not None:
        yield name


def _has_stack(module: nn.Module) -> bool:
    for part in module.modules():
        kinds = [type(child) for child in part.children() if next(child.children(), None)]
        if len(kinds) > len(set(kinds)):
            return True
    return False
