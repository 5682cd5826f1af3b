"""A step that is simulated again and again, under one plan after the other, in little time.

Calls of equal modules with equal arguments are run once, ever; from then on their profile is
played. What a module's call does to memory depends on its structure, its arguments' shapes and what
its seams hold, so a profile serves all blocks of a stack, all passes, and every later plan. Where a
step is short, or differentiates a gradient, all of it is run under each plan.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.optim import Optimizer

from sci_memeff._apply import apply
from sci_memeff._plan import Plan
from sci_memeff.chunking.slices import abridged
from sci_memeff.measure.caches import forgetting
from sci_memeff.measure.simulate import built_on_meta, fake_copies, meta_copy, refusing_values
from sci_memeff.planning.ghost import EMITTED, SecondDerivativeError, play
from sci_memeff.planning.meter import Cost, CostOf, Made, Meter, device_of, tensors_in
from sci_memeff.planning.profile import Backward, Call, NoProfileError, Profile, layouts_of
from sci_memeff.planning.recording import Recording, record
from sci_memeff.planning.stage import Ghosted, Scene, SceneStage
from sci_memeff.planning.states import learn_states
from sci_memeff.planning.structure import Structures, signature_of
from sci_memeff.planning.units import Found, units_of
from sci_memeff.precision import Recipe

__all__ = ["Rehearsal", "Rehearsed"]

_log = logging.getLogger(__name__)

Batch = TypeVar("Batch")
WORTH_PLAYING = 12  # operations, forward and backward
FEW = 1500  # of a step: to run them again and again takes no longer than to record what they do


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
    are from a run's second step on. `recipe` is that of the plain step; each plan has its own.
    """

    def __init__(
        self,
        model: nn.Module | Callable[[], nn.Module],
        step: Callable[[nn.Module, Batch], Tensor | None],
        batch: Batch,
        *,
        optimizer: Callable[[nn.Module], Optimizer] | None = None,
        seconds_of: CostOf,
        recipe: Recipe | None = None,
    ) -> None:
        self.recipe = recipe
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
        self.plays = True  # unless a watch finds that running everything is as quick
        self.operations = 0
        self.states: list[Tensor] = []
        self.state_bytes = self.update_bytes = 0
        if optimizer is not None:
            on_meta = built if built is not model else meta_copy(built)
            learnt = learn_states(optimizer, on_meta, self.model, self.mode)
            self.states, self.state_bytes, self.update_bytes = learnt

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
        self.kept.clear()
        self.small.clear()  # what is run without a look would not be known
        self.batch = fake_copies(self.mode, nn.Module(), batch)[1]

    def under(self, plan: Plan) -> Rehearsed:
        """Simulate one step, its optimizer's included."""
        apply(self.model, plan)
        return self._rehearsed(plays=self.plays)

    def under_watch(self, put: Callable[[nn.Module], None]) -> Rehearsed:
        """Simulate the plain step, with what `put` puts into the seams, in the recipe's dtypes."""
        apply(self.model, Plan(recipe=self.recipe))
        put(self.model)
        try:
            return self._rehearsed(plays=True)
        finally:
            self.plays = self.plays and self.operations > FEW

    def _rehearsed(self, *, plays: bool) -> Rehearsed:
        try:
            return self._run_through(plays=plays)
        except RuntimeError as error:
            # nobody may write to a view that a node of Python returns, as one may to a module's
            if not plays or not (isinstance(error, SecondDerivativeError) or EMITTED in str(error)):
                raise
            self.plays = False
            self._without_gradients()
            return self._run_through(plays=False)

    def _run_through(self, *, plays: bool) -> Rehearsed:
        self.structures.changed()
        meter = Meter(self.device, self.seconds_of)
        meter.where = self._where
        scene = self.scene = Scene(meter)
        repeated = abridged(lambda n: self.scene.meter.repeated(n))
        played = self._interposed() if plays else nullcontext()
        with refusing_values(), forgetting(), self.mode, played, repeated:
            self._adopt(meter)
            with meter:
                loss = self.step(self.model, self.batch)
                if isinstance(loss, Tensor) and loss.requires_grad:
                    loss.backward()
                del loss
            peak = self._updated(meter)
        scene.grads.clear()
        self._without_gradients()
        self.operations = meter.operations
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

    def _without_gradients(self) -> None:
        self.model.zero_grad()
        for x in tensors_in(self.batch):
            x.grad = None

    def _updated(self, meter: Meter) -> int:
        """The peak of the optimizer's step, which is the same under every plan."""
        return meter.level + self.update_bytes

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
        put = [Ghosted(self.called, m) for m in self.names if m not in self.spine and _is_called(m)]
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
        stage = SceneStage(self.scene, self.inside, self.names[one.module])
        return play(stage, profile, leaves, backward_of, dropped)

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


def _drops() -> bool:
    """Whether what a graph saves now goes elsewhere, as in the forward pass of a checkpoint."""
    hooks = torch._C._autograd._top_saved_tensors_default_hooks(True)  # type: ignore[attr-defined]
    if hooks is None:
        return False
    recording = getattr(hooks[0], "__self__", None)
    if isinstance(recording, Recording):
        return recording.drops
    return not hooks[0].__qualname__.startswith("_recomputation_hook")


def _is_called(module: nn.Module) -> bool:
    return type(module).forward is not nn.Module.forward or "forward" in vars(module)


def _autocast_now() -> tuple[tuple[str, bool, torch.dtype], ...]:
    return tuple(
        (kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind))
        for kind in ("cpu", "cuda")
        if torch.amp.is_autocast_available(kind)
    )
