"""Recording what a call of a module does to memory: forward and backward, apart from all else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from sci_memeff.planning.meter import Cost, Meter, storage_of, tensors_in
from sci_memeff.planning.profile import (
    Backward,
    Call,
    Layout,
    NoProfileError,
    Profile,
    layout_of,
    layouts_of,
)
from sci_memeff.planning.tree import flatten

__all__ = ["Recording", "record"]


def record(call: Call, on_meter: Callable[[Meter], None]) -> Profile:
    """Run the call apart from everything that the present thread is in the middle of.

    `on_meter` is told of the meter before the call is run.

    In a thread of its own there is no dispatch mode, no hook for saved tensors and no backward
    pass under way. NoProfileError where the call cannot stand for another.
    """
    found: list[Profile | Exception] = []

    def run() -> None:
        try:
            found.append(Recording(call, on_meter).run())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if isinstance(found[0], Profile):
        return found[0]
    raise NoProfileError(str(found[0])) from found[0]


@dataclass(frozen=True)
class _Kept:
    """What a graph keeps."""

    base: int
    """Bytes alive that are none of the call's."""
    saved: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    keys: tuple[int | None, ...]
    """Storages of those inputs, then of those outputs."""
    sizes: dict[int, int]


class Recording:
    """One recording: what its steps share."""

    def __init__(self, call: Call, on_meter: Callable[[Meter], None]) -> None:
        self.call = call
        self.on_meter = on_meter
        self.received: list[Tensor | None] = []
        self.handed: dict[object, int] = {}

    def run(self) -> Profile:
        """The call's profile."""
        call = self.call
        parameters = list(call.module.parameters())
        before = [p.grad for p in parameters]
        with ExitStack() as stack:
            stack.enter_context(call.mode)
            for kind, enabled, dtype in call.autocast:
                stack.enter_context(torch.autocast(kind, dtype, enabled, cache_enabled=False))
            stack.enter_context(torch.set_grad_enabled(call.grad))
            for p in parameters:
                grads = call.accumulates and p.requires_grad
                p.grad = torch.empty_like(p) if grads else None
            try:
                return self._profile()
            finally:
                for p, grad in zip(parameters, before, strict=True):
                    p.grad = grad

    def _profile(self) -> Profile:
        call = self.call
        storages: dict[int, Tensor] = {}
        plain: list[Any] = []
        for x in call.leaves:
            if isinstance(x, Layout):
                plain.append(x.made(storages) if x.twin is None else plain[x.twin])
            else:
                plain.append(x)
        del storages, x
        self.meter = meter = Meter(call.device, call.seconds_of)
        self.on_meter(meter)
        self._adopt(plain)
        with meter:
            given = self._with_graph(plain)
            del plain
            self.keys = [storage_of(x) if isinstance(x, Tensor) else None for x in given]
            self.start, self.away = meter.level, meter.elsewhere
            meter.restart()
            meter.cost = Cost()
            leaves, tree = flatten(self._result(given))
            peak, cost = meter.peak - self.start, meter.cost.copy()
            composition = meter.at_the_peak()
            self._check_outputs(leaves)
            self.outputs = layouts_of(leaves)
            loss = self._sink(leaves)
            kept = self._kept(leaves, given)
            meter.restart()
            composition_saved, elsewhere = meter.at_the_peak(), meter.elsewhere - self.away
            return Profile(
                peak=peak,
                peak_needed=max(self.needed[0] - self.start, 0),
                cost=cost,
                cost_needed=self.needed[1],
                outputs=self.outputs,
                tree=tree,
                saved=kept.saved,
                saved_inputs=kept.inputs,
                saved_outputs=kept.outputs,
                elsewhere=elsewhere,
                composition=composition,
                composition_saved=composition_saved,
                operations=meter.operations,
                backward=None if loss is None else self._backward(loss, kept),
            )

    def _result(self, given: list[Any]) -> Any:
        """What the call returns; `needed` is how far it was when the graph last kept something."""
        args, kwargs = self.call.tree.filled(given)
        versions = [x._version for x in given if isinstance(x, Tensor)]
        held = tensors_in(self.call.module)
        self.needed = (0, Cost())
        with saved_tensors_hooks(self._pack, _unpack):
            result = self.call.forward(*args, **kwargs)
        if versions != [x._version for x in given if isinstance(x, Tensor)]:
            raise NoProfileError("it writes to its arguments")
        left, tree = flatten((args, kwargs))
        if tree != self.call.tree or list(map(id, left)) != list(map(id, given)):
            raise NoProfileError("it changes what is in its arguments")
        if list(map(id, held)) != list(map(id, tensors_in(self.call.module))):
            raise NoProfileError("it leaves tensors in its attributes")
        return result

    @property
    def drops(self) -> bool:
        """Whether the call's graph keeps nothing."""
        return self.call.drops

    def _pack(self, tensor: Tensor) -> Tensor | None:
        self.needed = (self.meter.peak, self.meter.cost.copy())
        return None if self.call.drops else tensor.detach()

    def _adopt(self, tensors: Sequence[Any]) -> None:
        for x in self.call.module.parameters():
            self.meter.see(x, "parameter")
            if x.grad is not None:
                self.meter.see(x.grad, "gradient")
        for x in (*self.call.module.buffers(), *tensors):
            if isinstance(x, Tensor):
                self.meter.see(x, "argument")

    def _with_graph(self, leaves: list[Any]) -> list[Any]:
        """The same, results of a node that takes their gradients where they require one."""
        layouts = self.call.leaves
        places = [i for i, x in enumerate(layouts) if _requires_grad(x) and x.twin is None]
        if not places or not self.call.grad:
            return leaves
        token = torch.empty(0, requires_grad=True)
        made: Any = _Source.apply(self, token, *[leaves[i] for i in places])
        found = list(leaves)
        for i, x in zip(places, made, strict=True):
            found[i] = x
        return [
            found[x.twin] if isinstance(x, Layout) and x.twin is not None else found[i]
            for i, x in enumerate(layouts)
        ]

    def _check_outputs(self, leaves: list[Any]) -> None:
        taken = set(self.keys) | {storage_of(p) for p in self.call.module.parameters()}
        for x in leaves:
            if isinstance(x, Tensor):
                if x.layout != torch.strided or storage_of(x) in taken:
                    raise NoProfileError("it returns what it was given")
            elif not isinstance(x, (int, float, str, bool, type(None))):
                raise NoProfileError(f"it returns a {type(x).__name__}")

    def _sink(self, leaves: list[Any]) -> Tensor | None:
        """Something without bytes behind the outputs, whose node keeps none of them."""
        if not self.call.grad or self.call.drops:
            return None
        tensors = [x for x in leaves if isinstance(x, Tensor) and x.requires_grad]
        wanted = self.call.wanted
        if wanted is not None:
            tensors = [x for x, is_wanted in zip(tensors, wanted, strict=True) if is_wanted]
        return _Sink.apply(self, *tensors) if tensors else None

    def _kept(self, leaves: list[Any], given: list[Any]) -> _Kept:
        """What lives on when nobody but the graph holds arguments and outputs: empties both."""
        meter, keys = self.meter, self.keys
        out_keys = [storage_of(x) if isinstance(x, Tensor) else None for x in leaves]
        layouts = [*zip(keys, self.call.leaves, strict=True)]
        layouts += zip(out_keys, self.outputs, strict=True)
        sizes = {
            key: x.nbytes
            for key, x in layouts
            if isinstance(x, Layout) and x.device == meter.device and key is not None
        }
        leaves.clear()
        given.clear()
        alive = {k for k in (*keys, *out_keys) if k is not None and meter.is_alive(k)}
        base = self.start - sum({k: sizes.get(k, 0) for k in keys if k is not None}.values())
        return _Kept(
            base=base,
            saved=meter.level - base - sum(sizes.get(k, 0) for k in alive),
            inputs=tuple(i for i, k in enumerate(keys) if k in alive and k not in keys[:i]),
            outputs=tuple(
                i for i, k in enumerate(out_keys) if k in alive and k not in out_keys[:i]
            ),
            keys=tuple(k for k in dict.fromkeys((*keys, *out_keys)) if k in alive),
            sizes=sizes,
        )

    def _backward(self, loss: Tensor, kept: _Kept) -> Backward:
        meter = self.meter
        self.watched = {key: kept.sizes.get(key, 0) for key in kept.keys if key is not None}
        torch.autograd.backward(loss, torch.empty_like(loss))
        stretches = tuple(peak - self.entry for peak in meter.stretches)
        places = list(self.watched)
        deaths = tuple((places.index(key), self.watched[key]) for key in meter.deaths)
        cost = meter.cost.copy()
        composition = meter.at_the_peak()
        gradients: list[Layout | int | None] = []
        numbers: dict[int, int] = {}
        sizes: dict[int, int] = {}
        received = iter(self.received)
        for leaf in self.call.leaves:
            if not _requires_grad(leaf):
                continue
            # of a tensor that is there several times, the first has all of the gradient
            gradient = next(received, None) if leaf.twin is None else None
            if gradient is None:
                gradients.append(None)
                continue
            key = storage_of(gradient)
            number = self.handed.get(meter.follows(gradient))
            if number is not None:
                gradients.append(number)
            else:
                gradients.append(layout_of(gradient, numbers.setdefault(key, len(numbers))))
            sizes[key] = int(gradient.untyped_storage().nbytes())
        left = meter.level - kept.base - sum(sizes.values())
        return Backward(stretches, deaths, tuple(gradients), max(left, 0), cost, composition)

    def begin_backward(self, grads: Sequence[Tensor]) -> None:
        """The outputs' gradients are there."""
        self.handed = {self.meter.follows(g): i for i, g in enumerate(grads)}
        # another node may hold them longer than this call does, as a residual's does
        self.watched |= {storage_of(g): g.nbytes for g in grads}
        self.meter.given(self.watched)
        self.entry = self.meter.level
        self.meter.restart()
        self.meter.cost = Cost()


def _unpack(tensor: Tensor) -> Tensor:
    return tensor


class _Source(torch.autograd.Function):
    """Gives a call its inputs, and takes their gradients."""

    @staticmethod
    def forward(ctx: Any, recording: Recording, token: Tensor, *tensors: Tensor) -> Any:
        ctx.set_materialize_grads(False)
        ctx.recording = recording
        return tuple(x.detach() for x in tensors)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> Any:
        ctx.recording.received = list(grad_outputs)
        return (None, None, *(None for _ in grad_outputs))


class _Sink(torch.autograd.Function):
    """Takes a call's outputs without keeping them, and gives their gradients."""

    @staticmethod
    def forward(ctx: Any, recording: Recording, *tensors: Tensor) -> Tensor:
        ctx.recording = recording
        ctx.likes = [(x.shape, x.dtype, x.device) for x in tensors]
        return torch.empty(0, device=tensors[0].device)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        made = [torch.empty(shape, dtype=t, device=device) for shape, t, device in ctx.likes]
        ctx.recording.begin_backward(made)
        return (None, *made)


def _requires_grad(leaf: Any) -> bool:
    return isinstance(leaf, Layout) and leaf.requires_grad
