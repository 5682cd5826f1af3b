"""A search is opened: what one step may do is found out, for one batch and then for others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

from torch import Tensor, nn
from torch.optim import Optimizer

from sci_memeff._prediction import Tier
from sci_memeff.checkpointing import Host
from sci_memeff.planning.candidates import Space, space_of
from sci_memeff.planning.foreign import Heard, foreign_groups, known_of
from sci_memeff.planning.rehearsal import Rehearsal
from sci_memeff.planning.search import Progress, Search
from sci_memeff.planning.survey import surveyed
from sci_memeff.planning.targets import Target

__all__ = ["Place", "Step", "search_at", "search_of"]

Step = Callable[[nn.Module, Any], Tensor | None]
Place = Literal["device", "host"]


def search_of(
    model: nn.Module | Callable[[], nn.Module],
    step: Step,
    batch: Any,
    target: Target,
    *,
    keep: Sequence[Place] = ("device", "host"),
    allow: Sequence[Tier] = ("exact",),
    optimizer: Callable[[nn.Module], Optimizer] | None = None,
    progress: Progress | None = None,
) -> Search:
    """A search over what one step may do."""
    if progress is not None:
        progress("looking at the step", 0, 1)
    rehearsal = Rehearsal(model, step, batch, optimizer=optimizer, seconds_of=target.seconds)
    space = _space(rehearsal, hosts="host" in keep and target.host_link > 0)
    if "rounding" in allow and target.host_link:  # a GPU's own kernels add up in another order
        space = replace(space, attention="auto")
    return Search(rehearsal, space, target, progress)


def search_at(search: Search, batch: Any) -> Search:
    """The same for another batch; the one that it is made from is of no use any more."""
    search.rehearsal.take(batch)
    hosts = any(isinstance(store, Host) for store in search.space.stores)
    space = replace(_space(search.rehearsal, hosts=hosts), attention=search.space.attention)
    return Search(search.rehearsal, space, search.target, search.progress)


def _space(rehearsal: Rehearsal, *, hosts: bool) -> Space:
    found = known_of(rehearsal.model)
    heard = rehearsal.heard = Heard(rehearsal, found)
    rehearsal.keep_apart(found)
    survey = surveyed(rehearsal)
    classes = {name: type(module) for module, name in rehearsal.names.items()}
    space = space_of(survey, hosts=hosts, classes=classes)
    groups = (*space.groups, *foreign_groups(rehearsal, heard, found))
    rehearsal.heard = None
    return replace(space, groups=groups)
