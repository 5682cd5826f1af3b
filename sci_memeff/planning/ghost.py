"""A module's call played from its profile: the same bytes at the same moments, in a few operations.

The graph has three nodes. The first stands for the forward pass's transient peak and, going
backward, for the gradients of inputs and parameters; the second holds what the graph keeps, so
that whatever moves, drops or recomputes saved tensors does it to these; the third makes the outputs
and takes their gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from sci_memeff.planning.meter import Cost
from sci_memeff.planning.profile import Backward, Layout, Profile

__all__ = ["EMITTED", "SecondDerivativeError", "Stage", "play"]


class SecondDerivativeError(RuntimeError):
    """The backward pass is to be differentiated itself: what is played has no graph of that."""


@runtime_checkable
class Stage(Protocol):
    """Where ghosts play: what the simulation that they are part of gives them."""

    def spent(self, cost: Cost, operations: int = 0) -> None:
        """Computing that a ghost stands for."""

    @property
    def level(self) -> int:
        """Bytes alive now."""
        ...

    def reach(self, level: int, profile: Profile | Backward) -> None:
        """For a moment, so many bytes in all."""

    def kept(self, profile: Profile, drops: bool) -> list[Tensor]:
        """What the graph keeps, for as long as the tensors live; without bytes if `drops`."""
        ...

    def gradients(self, num_bytes: int) -> None:
        """So many bytes of parameters' gradients, until the step ends."""


class _Played:
    """One call: what its nodes share."""

    def __init__(
        self,
        stage: Stage,
        profile: Profile,
        backward_of: Callable[[tuple[bool, ...]], Backward],
        dropped: Profile | None,
    ) -> None:
        self.stage = stage
        self.profile = profile
        self.backward_of = backward_of
        self.dropped = dropped
        self.start = stage.level
        self.backward: Backward | None = None
        self.given: list[Tensor] = []
        self.storages: dict[int, Tensor] = {}
        self.handed: dict[int, Tensor] = {}


def play(
    stage: Stage,
    profile: Profile,
    leaves: list[Any],
    backward_of: Callable[[tuple[bool, ...]], Backward],
    dropped: Profile | None,
) -> Any:
    """What the call returns.

    `backward_of` tells the backward pass when it is known which of the outputs that can have a
    gradient have one. `dropped` is the forward pass where nothing is kept for it, if that is now.
    """
    if profile.backward is None:
        stage.spent(profile.cost, profile.operations)
        stage.reach(stage.level + profile.peak, profile)
        return profile.tree.filled(_made(profile, None))
    played = _Played(stage, profile, backward_of, dropped)
    inputs = [x for x in leaves if isinstance(x, Tensor) and x.requires_grad]
    token = torch.empty(0, requires_grad=True)
    entered: Any = _Enter.apply(played, token, *inputs)
    # without their graph, which is no part of this node's
    saved = [leaves[i].detach() for i in profile.saved_inputs]
    held: Any = _Hold.apply(played, entered, *saved)
    found: Any = _Emit.apply(played, held)
    return profile.tree.filled(_made(profile, list(found)))


def _made(profile: Profile, tensors: list[Tensor] | None) -> list[Any]:
    """The leaves of the result, its tensors taken from those or made."""
    if tensors is None:
        tensors = list(_tensors(profile, range(len(profile.outputs)), {}).values())
    rest = iter(tensors)
    return [next(rest) if isinstance(x, Layout) else x for x in profile.outputs]


def _tensors(
    profile: Profile, places: Iterable[int], storages: dict[int, Tensor]
) -> dict[int, Tensor]:
    """The outputs at these places, in `storages` where they are made already."""
    return {
        i: profile.outputs[i].made(storages)
        for i in places
        if isinstance(profile.outputs[i], Layout)
    }


def _num_users(storage: torch.UntypedStorage) -> int:
    return torch._C._storage_Use_Count(storage._cdata)  # type: ignore[attr-defined]


class _Enter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, played: _Played, token: Tensor, *inputs: Tensor) -> Tensor:
        ctx.played = played
        stage, profile = played.stage, played.profile
        stage.spent(profile.cost_needed, profile.operations)
        if played.dropped is None:
            stage.reach(played.start + profile.peak_needed, profile)
        else:
            stage.reach(played.start + played.dropped.peak, played.dropped)
        # until this node has run, what a checkpoint keeps for its recomputation stays, as it does
        # until the last of what the call's own graph keeps is used
        ctx.save_for_backward(torch.empty(0))
        return torch.empty(0)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        played = ctx.played
        backward, handed = played.backward, played.handed
        played.handed = {}
        storages: dict[int, Tensor] = {}
        needed = iter(ctx.needs_input_grad[2:])
        found: list[Tensor | None] = []
        for gradient in backward.gradients:
            wanted = next(needed)
            if gradient is None or not wanted:
                found.append(None)
            elif isinstance(gradient, int):
                found.append(handed[gradient])
            else:
                found.append(gradient.made(storages))
        played.stage.gradients(backward.left)
        return (None, None, *found)


class _Hold(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, played: _Played, entered: Tensor, *saved: Tensor) -> Tensor:
        ctx.played = played
        kept = played.stage.kept(played.profile, played.dropped is not None)
        outputs = _tensors(played.profile, played.profile.saved_outputs, played.storages).values()
        ctx.save_for_backward(*kept, *saved, *outputs)
        return torch.empty(0)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        played, stage = ctx.played, ctx.played.stage
        saved = ctx.saved_tensors  # whoever recomputes or fetches them does it now
        backward, entry = played.backward, stage.level
        count = len(played.profile.saved_inputs) + len(played.profile.saved_outputs)
        given = [*saved[len(saved) - count :], *played.given]
        taken: list[Any] = [x.untyped_storage() for x in given]
        played.given = []
        del given, saved
        ctx.maybe_clear_saved_tensors()
        stage.spent(backward.cost)
        for stretch, (place, size) in zip(backward.stretches, backward.deaths, strict=False):
            stage.reach(entry + stretch, backward)
            if _num_users(taken[place]) > 1:
                entry += size  # somebody else holds it
            taken[place] = None
        stage.reach(entry + backward.stretches[-1], backward)
        return (None, torch.empty(0), *(None for _ in ctx.needs_input_grad[2:]))


class _Emit(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, played: _Played, held: Tensor) -> Any:
        ctx.set_materialize_grads(False)
        ctx.played = played
        profile = played.profile
        rest = profile.cost.since(profile.cost_needed)
        played.stage.spent(rest)
        if played.dropped is None:
            played.stage.reach(played.start + profile.peak, profile)
        places = range(len(profile.outputs))
        tensors = list(_tensors(profile, places, played.storages).values())
        played.storages = {}
        layouts = [x for x in profile.outputs if isinstance(x, Layout)]
        ctx.mark_non_differentiable(
            *(x for x, layout in zip(tensors, layouts, strict=True) if not layout.requires_grad)
        )
        ctx.with_grad = [layout.requires_grad for layout in layouts]
        return tuple(tensors)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> Any:
        if torch.is_grad_enabled():
            raise SecondDerivativeError
        played = ctx.played
        given = [g for g, has in zip(grad_outputs, ctx.with_grad, strict=True) if has]
        played.backward = played.backward_of(tuple(g is not None for g in given))
        played.given = present = [g for g in given if g is not None]
        handed = {x for x in played.backward.gradients if isinstance(x, int)}
        played.handed = {i: present[i] for i in handed}
        return None, torch.empty(0)


EMITTED = f"of {_Emit.__name__} is a view"  # as torch begins to say that it may not be written to
