"""A step that is simulated again and again, under one plan after the other, in little time.

Calls of equal modules with equal arguments are run once, ever; from then on their profile is
played. What a module's call does to memory depends on its structure, its arguments' shapes and what
its seams hold, so a profile serves all blocks of a stack, all passes, and every later plan.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MethodType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.optim import Optimizer

from sci_memeff._apply import apply, restore
from sci_memeff._plan import Plan
from sci_memeff.chunking.slices import abridged
from sci_memeff.measure.simulate import built_on_meta, fake_copies, meta_copy
from sci_memeff.planning.ghost import play
from sci_memeff.planning.meter import Cost, CostOf, Made, Meter, device_of, storage_of, tensors_in
from sci_memeff.planning.profile import (
    Backward,
    Call,
    NoProfileError,
    Profile,
    Recording,
    layouts_of,
    record,
)
from sci_memeff.planning.structure import Interposed, Structures, signature_of
from sci_memeff.planning.units import Found, units_of

__all__ = ["Rehearsal", "Rehearsed"]

_log = logging.getLogger(__name__)

Batch = TypeVar("Batch")
WORTH_PLAYING = 12  # operations, forward and backward
SAVED, BALLAST = "what the graph keeps", "what is needed for a moment"


@dataclass(frozen=True)
class Rehearsed:
    """What a step comes to under a plan."""

    peak: int
    """Bytes, with parameters, states and inputs."""
    phase: str
    module: str
    elsewhere: int
    """The most bytes that were on another device at once: the host's share."""
    moved: int
    """Bytes that went there."""
    cost: Cost
    tensors: Counter[Made] = field(compare=False, repr=False)
    """What was alive at the peak."""


class Rehearsal:
    """A step on fake tensors.

    `model` is a module or a function that builds one; `step(model, batch)` returns the loss, or
    None where it has gone backward itself. The optimizer's states are there from the start, as they
    are from a run's second step on.
    """

    def __init__(
        self,
        model: nn.Module | Callable[[], nn.Module],
        step: Callable[[nn.Module, Batch], Tensor | None],
        batch: Batch,
        *,
        optimizer: Callable[[nn.Module], Optimizer] | None = None,
        seconds_of: CostOf,
    ) -> None:
        self.mode = FakeTensorMode(allow_non_fake_inputs=True)
        built = model if isinstance(model, nn.Module) else built_on_meta(model)
        self.model, self.batch = fake_copies(self.mode, built, batch)
        self.step = step
        self.seconds_of = seconds_of
        self.device = next((device_of(p) for p in self.model.parameters()), torch.device("cpu"))
        self.names = {module: name for name, module in self.model.named_modules()}
        self.own = {id(p) for p in self.model.parameters()}
        self.structures = Structures()
        self.profiles: dict[Hashable, Profile | None] = {}
        self.small: set[int] = set()
        self.kept: dict[int, Profile] = {}  # by structure: of its calls, the one that keeps most
        self.heard: Callable[[nn.Module, Callable[..., Any], Any, Any], None] | None = None
        self.inside: list[str] = []
        self.spine: set[nn.Module] = {self.model}
        self.states: list[Tensor] = []
        self.state_bytes = self.update_bytes = 0
        if optimizer is not None:
            self._learn_states(optimizer, built if built is not model else meta_copy(built))

    def _learn_states(
        self, optimizer: Callable[[nn.Module], Optimizer], on_meta: nn.Module
    ) -> None:
        """What the optimizer's states take, and for a moment more its step."""
        self._optimized(optimizer, on_meta)
        if any(_updates_inside(p) for p in on_meta.parameters()):
            with self.mode:
                self.update = optimizer(self.model)  # it acts while the backward pass is under way
                self._step(self.model, self.update, self.device)
            self.states = tensors_in([list(s.values()) for s in self.update.state.values()])

    def _optimized(self, optimizer: Callable[[nn.Module], Optimizer], on_meta: nn.Module) -> None:
        """Two steps on the meta device, where they are much faster; the second one is looked at."""
        update = optimizer(on_meta)
        _with_gradients(on_meta)
        update.step()
        update.zero_grad()
        self.update_bytes = self._step(on_meta, update, torch.device("meta"))
        states = tensors_in([list(s.values()) for s in update.state.values()])
        self.state_bytes = sum({storage_of(x): x.nbytes for x in states}.values())

    def _step(self, model: nn.Module, update: Optimizer, device: torch.device) -> int:
        """Bytes that a step takes for a moment, and no longer."""
        _with_gradients(model)
        meter = Meter(device, self.seconds_of)
        states = tensors_in([list(s.values()) for s in update.state.values()])
        given = [p.grad for p in model.parameters() if p.grad is not None]
        for x in (*model.parameters(), *given, *states):
            meter.see(x, "")
        del given, states
        meter.restart()
        with meter:
            update.step()
        peak = meter.peak - meter.level
        update.zero_grad()
        return peak

    def keep_apart(self, found: Found) -> None:
        """Run what holds stacks, so that their steps are played one by one."""
        names = {name: module for module, name in self.names.items()}
        stacks = [
            name
            for name, module in names.items()
            if "iterate" in vars(module)
            and any(isinstance(child, nn.ModuleList) for child in module.children())
        ]
        units = [name.rpartition(".")[0] for name in units_of(self.model, found)]
        for name in (*stacks, *units):
            parts = name.split(".") if name else []
            for k in range(len(parts) + 1):
                self.spine.add(names[".".join(parts[:k])])

    def take(self, batch: Any) -> None:
        """Another batch from now on."""
        self.batch = fake_copies(self.mode, nn.Module(), batch)[1]

    def under(self, plan: Plan) -> Rehearsed:
        """Simulate one step, its optimizer's included."""
        apply(self.model, plan)
        return self._rehearsed()

    def under_watch(self, put: Callable[[nn.Module], None]) -> Rehearsed:
        """Simulate the plain step, with what `put` puts into the seams."""
        restore(self.model)
        put(self.model)
        return self._rehearsed()

    def _rehearsed(self) -> Rehearsed:
        self.structures.changed()
        meter = Meter(self.device, self.seconds_of)
        meter.where = self._where
        scene = self.scene = Scene(meter)
        with self.mode, self._interposed(), abridged(lambda n: self.scene.meter.repeated(n)):
            self._adopt(meter)
            with meter:
                loss = self.step(self.model, self.batch)
                if isinstance(loss, Tensor) and loss.requires_grad:
                    loss.backward()
                del loss
            _level, peak = self._updated(meter)
        scene.grads.clear()
        self.model.zero_grad()
        composition = meter.at_the_peak()
        meter.forget()
        at_peak = ("optimizer", "") if peak > meter.peak else meter.at_peak
        return Rehearsed(
            max(peak, meter.peak),
            *at_peak,
            meter.peak_elsewhere,
            meter.moved,
            meter.cost,
            composition,
        )

    def _updated(self, meter: Meter) -> tuple[int, int]:
        """Level and peak of the optimizer's step, which is the same under every plan."""
        return meter.level, meter.level + self.update_bytes

    def _adopt(self, meter: Meter) -> None:
        for name, x in (*self.model.named_parameters(), *self.model.named_buffers()):
            meter.see(x, "parameter", name.rpartition(".")[0])
        for states in self.states:
            meter.see(states, "optimizer's state", "")
        if not self.states:
            meter.add(self.state_bytes, "optimizer's states")
        for x in tensors_in(self.batch):
            meter.expect(x)

    # what plays in place of modules

    @contextmanager
    def _interposed(self) -> Iterator[None]:
        put = [Ghosted(self, m) for m in self.names if m not in self.spine and _is_called(m)]
        for one in put:
            one.put()
        try:
            yield
        finally:
            for one in put:
                one.take()

    def called(self, one: Ghosted, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A module's call: played where that is possible, else run."""
        if self.heard is not None:
            self.heard(one.module, one.inner, args, kwargs)
        first = next(one.module.parameters(), None)
        found = None
        if first is None or id(first) in self.own:
            found = signature_of((args, kwargs))
        if found is None:
            return self._run(one, args, kwargs)
        told, leaves, tree = found
        for leaf in leaves:
            if isinstance(leaf, Tensor):
                self.scene.meter.see_old(leaf)
        grad = torch.is_grad_enabled()
        modes = _autocast_now()
        number = self.structures.number(one.module)
        if number in self.small:
            return self._run(one, args, kwargs)
        key = (number, told, grad, modes)
        if key not in self.profiles:
            self.profiles[key] = self._recorded(one, leaves, tree, grad, modes)
        profile = self.profiles[key]
        if profile is not None and profile.operations < WORTH_PLAYING:
            self.small.add(number)
        if profile is not None and grad:
            known = self.kept.get(number)
            if known is None or known.saved < profile.saved:
                self.kept[number] = profile
        if profile is None or number in self.small:
            return self._run(one, args, kwargs)
        layouts = layouts_of(leaves)

        def backward_of(wanted: tuple[bool, ...]) -> Backward:
            return self._backward(one, (*key, wanted), profile, layouts, tree, grad, modes, wanted)

        dropped = None
        if profile.backward is not None and _drops():
            key = (*key, "dropped")
            if key not in self.profiles:
                self.profiles[key] = self._recorded(one, layouts, tree, grad, modes, drops=True)
            dropped = self.profiles[key]
        return play(_Stage(self, one), profile, leaves, backward_of, dropped)

    def _run(self, one: Ghosted, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.inside.append(self.names[one.module])
        try:
            return one.inner(*args, **kwargs)
        finally:
            self.inside.pop()

    def _recorded(
        self, one: Ghosted, leaves: Any, tree: Any, grad: bool, modes: Any, **variant: Any
    ) -> Profile | None:
        call = Call(
            module=one.module,
            forward=one.inner,
            leaves=leaves if variant else layouts_of(leaves),
            tree=tree,
            mode=self.mode,
            device=self.device,
            seconds_of=self.seconds_of,
            grad=grad,
            autocast=modes,
            **variant,
        )
        outer, inside = self.scene, self.inside
        self.inside = [self.names[one.module]]

        def on(meter: Meter) -> None:
            meter.where = self._where
            self.scene = Scene(meter)
            if call.accumulates:
                self.scene.graded = {id(p) for p in one.module.parameters()}

        try:
            return record(call, on)
        except NoProfileError as error:
            _log.info("%s is run each time: %s", self.names[one.module], error)
            return None
        finally:
            self.scene, self.inside = outer, inside

    def _backward(
        self,
        one: Ghosted,
        key: Hashable,
        profile: Profile,
        layouts: tuple[Any, ...],
        tree: Any,
        grad: bool,
        modes: Any,
        wanted: tuple[bool, ...],
    ) -> Backward:
        """The backward pass for these outputs' gradients, with parameters' as they are now."""
        graded = self.scene.graded
        own = [p for p in one.module.parameters() if p.requires_grad]
        accumulates = bool(own) and id(own[0]) in graded
        graded |= {id(p) for p in own}
        if all(wanted) and not accumulates:
            assert profile.backward is not None
            return profile.backward
        key = (key, accumulates)
        if key not in self.profiles:
            self.profiles[key] = self._recorded(
                one, layouts, tree, grad, modes, wanted=wanted, accumulates=accumulates
            )
        found = self.profiles[key]
        if found is None or found.backward is None:
            assert profile.backward is not None
            return profile.backward
        return found.backward

    def _where(self) -> tuple[str, str]:
        phase = "forward" if torch._C._current_graph_task_id() == -1 else "backward"
        return phase, self.inside[-1] if self.inside else ""


@dataclass
class Scene:
    """What one run, or one recording, counts with."""

    meter: Meter
    graded: set[int] = field(default_factory=set)
    """Parameters, by `id`, that have a gradient."""
    grads: list[Tensor] = field(default_factory=list)


class Ghosted(Interposed):
    """Stands as a module's forward."""

    def __init__(self, rehearsal: Rehearsal, module: nn.Module) -> None:
        self.rehearsal = rehearsal
        self.module = module
        self.own = vars(module).get("forward")
        self.inner = self.own or MethodType(type(module).forward, module)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.rehearsal.called(self, args, kwargs)

    def put(self) -> None:
        vars(self.module)["forward"] = self

    def take(self) -> None:
        del vars(self.module)["forward"]
        if self.own is not None:
            vars(self.module)["forward"] = self.own


class _Stage:
    """A ghost's share of the scene."""

    def __init__(self, rehearsal: Rehearsal, one: Ghosted) -> None:
        self._rehearsal = rehearsal
        self._name = rehearsal.names[one.module]

    @property
    def device(self) -> torch.device:
        return self._rehearsal.device

    @property
    def level(self) -> int:
        return self._rehearsal.scene.meter.level

    def spent(self, cost: Cost, operations: int = 0) -> None:
        self._rehearsal.scene.meter.cost.add(cost)
        self._rehearsal.scene.meter.operations += operations

    def reach(self, level: int, profile: Profile | Backward) -> None:
        missing = level - self.level
        if missing > 0:
            self._made(missing, BALLAST, profile.composition)

    def kept(self, profile: Profile, drops: bool) -> list[Tensor]:
        found = []
        if profile.saved > 0 and drops:
            byte = torch.empty(1, dtype=torch.uint8, device=self.device)
            found.append(byte.expand(profile.saved))
        elif profile.saved > 0:
            found.append(self._made(profile.saved, SAVED, profile.composition_saved))
        if profile.elsewhere > 0:
            found.append(torch.empty(profile.elsewhere, dtype=torch.uint8, device="meta"))
        return found

    def gradients(self, num_bytes: int) -> None:
        if num_bytes:
            self._rehearsal.scene.grads.append(self._made(num_bytes, "gradient", None))

    def _made(self, num_bytes: int, what: str, composition: Counter[Made] | None) -> Tensor:
        self._rehearsal.inside.append(self._name)
        try:
            with self._rehearsal.scene.meter.making(what, composition):
                return torch.empty(num_bytes, dtype=torch.uint8, device=self.device)
        finally:
            self._rehearsal.inside.pop()


def _drops() -> bool:
    """Whether what a graph saves now goes elsewhere, as in the forward pass of a checkpoint."""
    hooks = torch._C._autograd._top_saved_tensors_default_hooks(True)  # type: ignore[attr-defined]
    if hooks is None:
        return False
    recording = getattr(hooks[0], "__self__", None)
    if isinstance(recording, Recording):
        return recording.drops
    return not hooks[0].__qualname__.startswith("_recomputation_hook")


def _with_gradients(model: nn.Module) -> None:
    for p in model.parameters():
        p.grad = torch.empty_like(p) if p.requires_grad else None


def _updates_inside(parameter: nn.Parameter) -> bool:
    """Whether something happens as soon as it has its gradient."""
    return bool(getattr(parameter, "_post_accumulate_grad_hooks", None))


def _is_called(module: nn.Module) -> bool:
    return type(module).forward is not nn.Module.forward or "forward" in vars(module)


def _autocast_now() -> tuple[tuple[str, bool, torch.dtype], ...]:
    return tuple(
        (kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind))
        for kind in ("cpu", "cuda")
        if torch.amp.is_autocast_available(kind)
    )
