"""What one call of a module does to memory, recorded once on fake tensors of its arguments' shapes.

Levels are bytes beyond those that were alive when the call, or its backward pass, began.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks

from sci_memeff.planning.meter import Cost, CostOf, Made, Meter, device_of, storage_of
from sci_memeff.planning.tree import Tree, flatten

__all__ = [
    "Backward",
    "Call",
    "Layout",
    "NoProfileError",
    "Profile",
    "Recording",
    "layouts_of",
    "record",
]


class NoProfileError(Exception):
    """A call that must be run each time: it changes or returns what it was given, or cannot run."""


@dataclass(frozen=True)
class Layout:
    """How a tensor lies in its storage."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    dtype: torch.dtype
    device: torch.device
    requires_grad: bool
    storage: int  # tensors of one call with the same number share it
    nbytes: int  # of the storage

    @property
    def is_whole(self) -> bool:
        """Whether it is contiguous, and all that is in its storage."""
        size, stride = 1, []
        for length in reversed(self.shape):
            stride.append(size)
            size *= length
        whole = size * self.dtype.itemsize == self.nbytes and not self.offset
        return whole and tuple(reversed(stride)) == self.stride

    def made(self, storages: dict[int, Tensor]) -> Tensor:
        """A tensor like that, in its storage."""
        size = self.dtype.itemsize
        if self.storage not in storages and self.is_whole:
            found = torch.empty(self.shape, dtype=self.dtype, device=self.device)
            storages[self.storage] = found
            return found
        if self.storage not in storages:
            storages[self.storage] = torch.empty(self.nbytes, dtype=torch.uint8, device=self.device)
        flat = storages[self.storage]
        size = self.dtype.itemsize
        return (
            flat[: self.nbytes // size * size]
            .view(self.dtype)
            .as_strided(self.shape, self.stride, self.offset)
        )


@dataclass(frozen=True)
class Backward:
    """A call's backward pass, from the moment that its outputs' gradients are there."""

    stretches: tuple[int, ...]
    """Peaks between the moments at which something that the call took or gave is freed."""
    deaths: tuple[tuple[int, int], ...]
    """What is freed then: its place among `saved_inputs` and then `saved_outputs`; its bytes."""
    gradients: tuple[Layout | int | None, ...]
    """Of the inputs that require one; a number is the output whose gradient is handed through."""
    left: int
    """Bytes that stay: the parameters' gradients."""
    cost: Cost
    composition: Counter[Made] = field(compare=False, repr=False)

    def peak(self, is_held: Callable[[int], bool]) -> int:
        """The peak, if somebody else holds what is at some of those places."""
        peak, held = self.stretches[0], 0
        for (place, size), stretch in zip(self.deaths, self.stretches[1:], strict=True):
            held += size if is_held(place) else 0
            peak = max(peak, stretch + held)
        return peak


@dataclass(frozen=True)
class Profile:
    """A call's forward pass, and its backward passes as they turn out to be needed."""

    peak: int
    peak_needed: int
    """The same, up to the last tensor that the graph keeps: a recomputation ends there."""
    outputs: tuple[Any, ...]
    """Leaves: a Layout, or what it is where it is no tensor."""
    tree: Tree
    saved: int
    """Bytes that only the graph keeps."""
    saved_inputs: tuple[int, ...]
    saved_outputs: tuple[int, ...]
    cost: Cost
    cost_needed: Cost
    elsewhere: int
    """Bytes that the graph keeps on another device."""
    composition: Counter[Made] = field(compare=False, repr=False)
    composition_saved: Counter[Made] = field(compare=False, repr=False)
    operations: int
    backward: Backward | None = None


@dataclass(frozen=True)
class Call:
    """Everything that a recording runs."""

    module: nn.Module
    forward: Callable[..., Any]
    leaves: tuple[Any, ...]
    """Of the arguments: Layouts, and what is no tensor."""
    tree: Tree
    mode: FakeTensorMode
    device: torch.device
    seconds_of: CostOf
    grad: bool
    autocast: tuple[tuple[str, bool, torch.dtype], ...]
    wanted: tuple[bool, ...] | None = None
    """Which outputs get a gradient; None: all that can."""
    accumulates: bool = False
    """Whether parameters have a gradient already."""
    drops: bool = False
    """Whether whatever the graph would keep is dropped, as in a checkpoint's forward pass."""


def layouts_of(leaves: Sequence[Any]) -> tuple[Any, ...]:
    """Each tensor's layout, and everything else as it is."""
    numbers: dict[int, int] = {}
    return tuple(
        _layout(x, numbers.setdefault(storage_of(x), len(numbers))) if isinstance(x, Tensor) else x
        for x in leaves
    )


def _layout(tensor: Tensor, storage: int) -> Layout:
    return Layout(
        tuple(tensor.shape),
        tensor.stride(),
        int(tensor.storage_offset()),
        tensor.dtype,
        device_of(tensor),
        tensor.requires_grad,
        storage,
        int(tensor.untyped_storage().nbytes()),
    )


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
        plain = [x.made(storages) if isinstance(x, Layout) else x for x in call.leaves]
        del storages
        self.meter = meter = Meter(call.device, call.seconds_of)
        self.on_meter(meter)
        self._adopt(plain)
        with meter:
            given = self._with_graph(plain)
            del plain
            keys = [storage_of(x) if isinstance(x, Tensor) else None for x in given]
            start = meter.level
            away = meter.elsewhere
            meter.restart()
            meter.cost = Cost()
            args, kwargs = call.tree.filled(given)
            versions = [x._version for x in given if isinstance(x, Tensor)]
            self.needed = (0, Cost())
            with saved_tensors_hooks(self._pack, _unpack):
                result = call.forward(*args, **kwargs)
            if versions != [x._version for x in given if isinstance(x, Tensor)]:
                raise NoProfileError("it writes to its arguments")
            del args, kwargs
            forward = (meter.peak - start, meter.cost.copy(), meter.at_the_peak())
            self.needed = (max(self.needed[0] - start, 0), self.needed[1])
            leaves, tree = flatten(result)
            del result
            self._check_outputs(leaves, keys)
            outputs = layouts_of(leaves)
            loss = self._sink(leaves)
            return self._kept(forward, outputs, tree, loss, leaves, given, keys, start, away)

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
        places = [i for i, x in enumerate(self.call.leaves) if _requires_grad(x)]
        if not places or not self.call.grad:
            return leaves
        token = torch.empty(0, requires_grad=True)
        made: Any = _Source.apply(self, token, *[leaves[i] for i in places])
        found = list(leaves)
        for i, x in zip(places, made, strict=True):
            found[i] = x
        return found

    def _check_outputs(self, leaves: list[Any], keys: list[int | None]) -> None:
        taken = set(keys) | {storage_of(p) for p in self.call.module.parameters()}
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

    def _kept(
        self,
        forward: tuple[int, Cost, Counter[Made]],
        outputs: tuple[Any, ...],
        tree: Tree,
        loss: Tensor | None,
        leaves: list[Any],
        given: list[Any],
        keys: list[int | None],
        start: int,
        away: int,
    ) -> Profile:
        meter = self.meter
        out_keys = [storage_of(x) if isinstance(x, Tensor) else None for x in leaves]
        sizes = {
            key: x.nbytes
            for key, x in (*zip(keys, self.call.leaves), *zip(out_keys, outputs))  # noqa: B905
            if isinstance(x, Layout) and x.device == meter.device and key is not None
        }
        del leaves[:], given[:]
        saved_in = tuple(i for i, k in enumerate(keys) if k is not None and meter.is_alive(k))
        saved_out = tuple(i for i, k in enumerate(out_keys) if k is not None and meter.is_alive(k))
        inputs = sum({k: sizes.get(k, 0) for k in keys if k is not None}.values())
        alive = {k for k in (*keys, *out_keys) if k is not None and meter.is_alive(k)}
        saved = meter.level - (start - inputs) - sum(sizes.get(k, 0) for k in alive)
        peak, cost, composition = forward
        self.places = [*(keys[i] for i in saved_in), *(out_keys[i] for i in saved_out)]
        self.sizes = sizes
        meter.given(k for k in self.places if k is not None)
        meter.restart()
        composition_saved = meter.at_the_peak()
        kept_away = meter.elsewhere - away
        backward = None
        if loss is not None:
            backward = self._backward(loss, start - inputs)
        return Profile(
            peak=peak,
            peak_needed=self.needed[0],
            cost_needed=self.needed[1],
            outputs=outputs,
            tree=tree,
            saved=saved,
            saved_inputs=saved_in,
            saved_outputs=saved_out,
            cost=cost,
            elsewhere=kept_away,
            composition=composition,
            composition_saved=composition_saved,
            operations=meter.operations,
            backward=backward,
        )

    def _backward(self, loss: Tensor, base: int) -> Backward:
        meter = self.meter
        torch.autograd.backward(loss, torch.empty_like(loss))
        stretches = tuple(peak - self.entry for peak in meter.stretches)
        deaths = tuple((self.places.index(key), self.sizes.get(key, 0)) for key in meter.deaths)
        cost = meter.cost.copy()
        composition = meter.at_the_peak()
        gradients: list[Layout | int | None] = []
        numbers: dict[int, int] = {}
        sizes: dict[int, int] = {}
        needed = sum(_requires_grad(leaf) for leaf in self.call.leaves)
        for gradient in self.received or [None] * needed:
            if gradient is None:
                gradients.append(None)
                continue
            key = storage_of(gradient)
            number = self.handed.get(meter.follows(gradient))
            if number is not None:
                gradients.append(number)
            else:
                gradients.append(_layout(gradient, numbers.setdefault(key, len(numbers))))
            sizes[key] = int(gradient.untyped_storage().nbytes())
        left = meter.level - base - sum(sizes.values())
        return Backward(stretches, deaths, tuple(gradients), max(left, 0), cost, composition)

    def begin_backward(self, grads: Sequence[Tensor]) -> None:
        """The outputs' gradients are there."""
        self.handed = {self.meter.follows(g): i for i, g in enumerate(grads)}
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
