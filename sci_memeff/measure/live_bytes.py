"""Count live bytes: follow every tensor that an operation reads or makes, real or fake."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._ops import HigherOrderOperator
from torch._subclasses.fake_tensor import FakeTensor
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode

from sci_memeff.measure.flops import formula
from sci_memeff.measure.log import Kind, Log, Origin
from sci_memeff.measure.place import Place
from sci_memeff.measure.reduced import keep_terms
from sci_memeff.measure.storages import Storages, parts

__all__ = ["Recorder"]

_COMPOSITE = torch._C.DispatchKey.CompositeImplicitAutograd
_PLAIN = {Tensor, nn.Parameter, nn.Buffer, FakeTensor}
_NO_OPERATION = ("prim::", "profiler::")  # questions about a tensor, remarks for a profiler
_FROM_DATA = {torch.ops.aten.lift_fresh.default, torch.ops.aten.lift.default}


class _Known(NamedTuple):
    """What matters of an operation."""

    name: str
    is_remark: bool
    is_composite: bool
    is_from_data: bool
    flops: Callable[..., int] | None


class Recorder:
    """Fills a log with what happens `with recorder.running():`."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.storages = Storages(log)
        self.place = Place(
            log,
            adopt=self._adopt,
            module_of_leaf=self.storages.module_of,
            on_optimizer=self._take_states,
        )

    @contextmanager
    def running(self, model: nn.Module | None) -> Iterator[None]:
        """Everything inside is recorded; no hook and no reference is left behind."""
        self.storages.note_existing()
        if model is not None:
            self.place.name(model, "")
        try:
            with self.place.watching(), self.storages.watching(), _Following(self):
                yield
        finally:
            self.storages.close()

    def mark(
        self, kind: Kind, tensors: Iterable[Tensor], *, module: int | None = None, what: str
    ) -> None:
        """These tensors are of this kind, whatever made them; with `module`, they are its own."""
        for tensor in tensors:
            origin = partial(_origin, module or 0, what)
            for part in parts(tensor):
                row = self.storages.see(part, origin)
                self._are([row], kind)
                if module is not None and row >= 0:
                    self.log.origins[row] = self.log.all_origins.number(origin(part))

    def record(self, known: _Known, args: Any, kwargs: dict[str, Any], out: Any) -> None:
        """One operation has run."""
        here, log = self.place.here(), self.log
        log.begin(here.phase)
        if not known.is_from_data:
            given = partial(_origin, 0, "given")
            for tensor in _tensors([args, kwargs]):
                # what a backward pass reads and nobody made was saved before the measurement
                self._see(tensor, given, old=here.is_backward)
        made = partial(_origin, here.module, known.name)
        for tensor in _tensors([out]):
            rows = self._see(tensor, made)
            if here.is_gradient:
                self._are(rows, "gradients")
        if known.flops is not None:
            log.flops[here.module, here.phase] += known.flops(*args, **kwargs, out_val=out)

    def _see(
        self, tensor: Tensor, origin: Callable[[Tensor], Origin], *, old: bool = False
    ) -> tuple[int, ...]:
        if tensor.layout == torch.strided:
            return (self.storages.see(tensor, origin, old=old),)
        return tuple(self.storages.see(part, origin, old=old) for part in parts(tensor))

    def _are(self, rows: Iterable[int], kind: Kind) -> None:
        for row in rows:
            if row >= 0:
                self.log.is_kind(row, kind)

    def _adopt(self, module: nn.Module, path: str) -> None:
        number = self.log.all_modules.number(path)
        named = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        for name, tensor in named:
            self.mark("parameters", [tensor], module=number, what=name)
            if tensor.grad is not None:
                self.mark("gradients", [tensor.grad], module=number, what=f"{name}.grad")

    def _take_states(self, optimizer: Optimizer) -> None:
        given = [p.grad for group in optimizer.param_groups for p in group["params"]]
        self.mark("gradients", [grad for grad in given if grad is not None], what="grad")
        for parameter, states in optimizer.state.items():
            module = self.storages.module_of(parameter)
            for name, value in states.items():
                if isinstance(value, Tensor):
                    self.mark("optimizer", [value], module=module, what=name)


class _Following(TorchDispatchMode):
    """Shows a recorder every operation after it has run."""

    supports_higher_order_operators = True

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder
        self._known: dict[Any, _Known] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if any(kind not in _PLAIN for kind in types):
            return NotImplemented  # a subclass takes it apart; its parts come back here
        kwargs = kwargs or {}
        known = self._known.get(func)
        if known is None:
            known = self._known[func] = _know(func)
        if known.is_remark:
            return func(*args, **kwargs)
        if known.is_composite:  # reaches this place in inference mode only
            with self:
                return func.decompose(*args, **kwargs)
        out = func(*args, **kwargs)
        keep_terms(func, args, out)
        self._recorder.record(known, args, kwargs, out)
        return out


def _know(func: Any) -> _Known:
    if isinstance(func, HigherOrderOperator):
        return _Known(func.name(), False, False, False, None)
    name = func.name()
    if name.startswith(_NO_OPERATION):
        return _Known(name, True, False, False, None)
    return _Known(
        name=name.removeprefix("aten::").partition(".")[0],
        is_remark=False,
        is_composite=_has_kernel(name, _COMPOSITE)
        and not _has_kernel(name, torch._C.DispatchKey.CPU),
        is_from_data=func in _FROM_DATA,
        flops=formula(func),
    )


def _has_kernel(name: str, key: torch._C.DispatchKey) -> bool:
    return torch._C._dispatch_has_kernel_for_dispatch_key(name, key)


def _origin(module: int, what: str, tensor: Tensor) -> Origin:
    shape = () if tensor.is_nested else tuple(tensor.shape)
    return Origin(module, what, shape, tensor.dtype)


def _tensors(values: Iterable[Any]) -> list[Tensor]:
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found += _tensors(value)
        elif isinstance(value, dict):
            found += _tensors(value.values())
    return found
