"""Where ghosts play: the meter of the simulation, or of the recording, that they are part of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from sci_memeff.planning.meter import Cost, Made, Meter
from sci_memeff.planning.profile import Backward, Profile
from sci_memeff.planning.structure import Interposed

__all__ = ["Ghosted", "Scene", "SceneStage"]

SAVED, BALLAST = "what the graph keeps", "what is needed for a moment"
Called = Callable[["Ghosted", tuple[Any, ...], dict[str, Any]], Any]


@dataclass
class Scene:
    """What one run, or one recording, counts with."""

    meter: Meter
    graded: set[int] = field(default_factory=set)
    """Parameters, by `id`, that have a gradient."""
    grads: list[Tensor] = field(default_factory=list)


class Ghosted(Interposed):
    """Stands as a module's forward."""

    def __init__(self, called: Called, module: nn.Module) -> None:
        self._called = called
        self.module = module
        self.own = vars(module).get("forward")
        self.inner = self.own or MethodType(type(module).forward, module)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Play the call, or run it."""
        return self._called(self, args, kwargs)

    def put(self) -> None:
        """Stand there."""
        vars(self.module)["forward"] = self

    def take(self) -> None:
        """Leave what stood there before."""
        del vars(self.module)["forward"]
        if self.own is not None:
            vars(self.module)["forward"] = self.own


class SceneStage:
    """A ghost's share of the scene."""

    def __init__(self, scene: Scene, inside: list[str], name: str) -> None:
        self._scene = scene
        self._inside = inside
        self._name = name

    @property
    def level(self) -> int:
        """Bytes alive now."""
        return self._scene.meter.level

    def spent(self, cost: Cost, operations: int = 0) -> None:
        """Computing that a ghost stands for."""
        self._scene.meter.cost.add(cost)
        self._scene.meter.operations += operations

    def reach(self, level: int, profile: Profile | Backward) -> None:
        """For a moment, so many bytes in all."""
        missing = level - self.level
        if missing > 0:
            self._made(missing, BALLAST, profile.composition)

    def kept(self, profile: Profile, drops: bool) -> list[Tensor]:
        """What the graph keeps, for as long as the tensors live; without bytes if `drops`."""
        found = []
        if profile.saved > 0 and drops:
            byte = torch.empty(1, dtype=torch.uint8, device=self._scene.meter.device)
            found.append(byte.expand(profile.saved))
        elif profile.saved > 0:
            found.append(self._made(profile.saved, SAVED, profile.composition_saved))
        if profile.elsewhere > 0:
            found.append(torch.empty(profile.elsewhere, dtype=torch.uint8, device="meta"))
        return found

    def gradients(self, num_bytes: int) -> None:
        """So many bytes of parameters' gradients, until the step ends."""
        if num_bytes:
            self._scene.grads.append(self._made(num_bytes, "gradient", None))

    def _made(self, num_bytes: int, what: str, composition: Counter[Made] | None) -> Tensor:
        self._inside.append(self._name)
        try:
            with self._scene.meter.making(what, composition):
                return torch.empty(num_bytes, dtype=torch.uint8, device=self._scene.meter.device)
        finally:
            self._inside.pop()
