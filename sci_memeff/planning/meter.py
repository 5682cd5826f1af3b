"""Live bytes, FLOPs and time of fake operations, counted as they run.

`measure` tells everything about one step; a search runs hundreds of them and wants a few numbers
of each, and of parts of them, so this keeps only those.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._ops import HigherOrderOperator
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode

from sci_memeff.measure.flops import formula
from sci_memeff.measure.reduced import keep_terms
from sci_memeff.measure.storages import parts

__all__ = ["Cost", "CostOf", "Made", "Meter", "device_of", "storage_of", "tensors_in"]

NO_OPERATION = ("prim::", "profiler::")  # questions about a tensor, remarks for a profiler
NO_WORK = (
    "aten::_unsafe_view",
    "aten::detach",
    "aten::empty.memory_format",
    "aten::empty_like",
    "aten::empty_strided",
    "aten::new_empty",
    "aten::new_empty_strided",
)
PLAIN = {Tensor, nn.Parameter, nn.Buffer, FakeTensor}
CostOf = Callable[[int, int, torch.dtype], float]


class Made(NamedTuple):
    """What a storage was made as: an operation's result, its shape and dtype, in which module."""

    what: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    module: str


@dataclass
class Cost:
    """What computing takes."""

    flops: int = 0
    seconds: float = 0.0

    def add(self, other: Cost) -> None:
        """Both, one after the other."""
        self.flops += other.flops
        self.seconds += other.seconds

    def since(self, before: Cost) -> Cost:
        """What came after `before` was taken."""
        return Cost(self.flops - before.flops, self.seconds - before.seconds)

    def copy(self) -> Cost:
        """As it stands."""
        return Cost(self.flops, self.seconds)


class _Followed(weakref.ref):
    """A weak reference to a storage, with what is on record of it."""

    __slots__ = ("key", "row", "size")

    key: int
    row: int
    size: int

    __hash__ = object.__hash__  # a weak reference's own would be that of the storage


class Meter(TorchDispatchMode):
    """Counts the bytes of `device` that are alive, from the moment it is entered.

    Storages that existed before are not counted, but for those shown to `see` or `expect`.
    `elsewhere` is what lives on other devices. `seconds_of(flops, bytes, dtype)` estimates an
    operation's time.
    """

    def __init__(self, device: torch.device, seconds_of: CostOf) -> None:
        super().__init__()
        self.device = device
        self.cost = Cost()
        self.operations = 0
        self.level = self.peak = 0
        self.elsewhere = self.peak_elsewhere = self.moved = 0
        self.at_peak = ("forward", "")
        self.where: Callable[[], tuple[str, str]] = lambda: ("forward", "")
        self._seconds_of = seconds_of
        self._alive: dict[int, _Followed] = {}
        self._made: list[Made] = []
        self._parts: list[Counter[Made] | None] = []
        self._what: tuple[str, Counter[Made] | None] | None = None
        self._births: list[int] = []
        self._deaths: list[int] = []
        self._sizes: list[int] = []
        self._tick = self._peak_tick = 0
        self._old: set[int] = set()
        self._given: set[int] = set()
        self.deaths: list[int] = []
        self.stretches = [0]
        self._known: dict[Any, tuple[str, Any, bool]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if any(kind not in PLAIN for kind in types):
            return NotImplemented  # a subclass takes it apart; its parts come back here
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        keep_terms(func, args, out)
        known = self._known.get(func)
        if known is None:
            known = self._known[func] = _know(func)
        name, flops_of, is_view = known
        if name.startswith(NO_OPERATION):
            return out
        self.operations += 1
        flops = 0 if flops_of is None else flops_of(*args, **kwargs, out_val=out)
        made, read = list(_tensors((out,))), list(_tensors((args, kwargs)))
        for tensor in made:
            self.see(tensor, name)
        if self._old:
            for tensor in read:
                self.see(tensor, "given")
        if not is_view:
            moved = sum(x.numel() * x.element_size() for x in (*made, *read))
            dtype = made[0].dtype if made else torch.float32
            self.cost.flops += flops
            self.cost.seconds += self._seconds_of(flops, moved, dtype)
        return out

    def add(self, size: int, what: str) -> None:
        """Bytes of which there are no tensors here, from the first moment to the last."""
        self._made.append(Made(what, (), torch.uint8, ""))
        self._parts.append(None)
        self._sizes.append(size)
        self._births.append(0)
        self._deaths.append(-1)
        self.level += size
        self.peak += size

    def expect(self, tensor: Tensor) -> None:
        """Count a tensor that is there already from the first moment on, if anything reads it."""
        for part in parts(tensor):
            self._old.add(part.untyped_storage()._cdata)

    def see(self, tensor: Tensor, what: str, module: str | None = None) -> None:
        """Count a tensor's storage from now on, unless it is counted already."""
        for part in parts(tensor):
            storage = part.untyped_storage()
            size = int(storage.nbytes())
            if storage._cdata not in self._alive and size:
                self._follow(storage, size, part, what, module)

    def _follow(
        self,
        storage: torch.UntypedStorage,
        size: int,
        tensor: Tensor,
        what: str,
        module: str | None,
    ) -> None:
        followed = _Followed(storage, self._freed)
        followed.key, followed.size, followed.row = storage._cdata, size, -1
        self._alive[storage._cdata] = followed
        if device_of(tensor) != self.device:
            self.elsewhere += size
            self.moved += size
            self.peak_elsewhere = max(self.peak_elsewhere, self.elsewhere)
            return
        followed.row = len(self._sizes)
        where = self.where()
        inside = where[1] if module is None else module
        if self._what is None:
            self._made.append(Made(what, tuple(tensor.shape), tensor.dtype, inside))
            self._parts.append(None)
        else:
            self._made.append(Made(self._what[0], (), tensor.dtype, inside))
            self._parts.append(self._what[1])
        self._sizes.append(size)
        self._deaths.append(-1)
        self.level += size
        if storage._cdata in self._old:
            self._old.discard(storage._cdata)
            self._births.append(0)
            self.peak += size
            self.stretches = [peak + size for peak in self.stretches]
            return
        self._tick += 1
        self._births.append(self._tick)
        self.stretches[-1] = max(self.stretches[-1], self.level)
        if self.level > self.peak:
            self.peak, self._peak_tick, self.at_peak = self.level, self._tick, where

    @contextmanager
    def repeated(self, times: int) -> Iterator[None]:
        """What is computed here is computed so often."""
        before = self.cost.copy()
        yield
        once = self.cost.since(before)
        self.cost.add(Cost(once.flops * (times - 1), once.seconds * (times - 1)))

    def see_old(self, tensor: Tensor) -> None:
        """Something reads this tensor: count it if it was expected."""
        if self._old:
            self.see(tensor, "given")

    @contextmanager
    def making(self, what: str, composition: Counter[Made] | None) -> Iterator[None]:
        """What is made here is called `what`, and is in truth made up of `composition`."""
        before, self._what = self._what, (what, composition)
        try:
            yield
        finally:
            self._what = before

    def _freed(self, followed: Any) -> None:
        if self._alive.get(followed.key) is not followed:
            return
        del self._alive[followed.key]
        if followed.row < 0:
            self.elsewhere -= followed.size
        else:
            self.level -= followed.size
            self._deaths[followed.row] = self._tick
            if followed.key in self._given:
                self._given.discard(followed.key)
                self.deaths.append(followed.key)
                self.stretches.append(self.level)

    def is_alive(self, key: int) -> bool:
        """Whether the storage of this `_cdata` is counted and lives."""
        return key in self._alive

    def given(self, keys: Iterable[int]) -> None:
        """Note in `deaths` when these storages are freed, and in `stretches` the peaks between."""
        self._given = set(keys)

    def follows(self, tensor: Tensor) -> object:
        """What stands for a tensor's storage as long as that lives; None if it is not counted."""
        return self._alive.get(storage_of(tensor))

    def is_following(self, followed: object) -> bool:
        """Whether the storage that `follows` told of is alive."""
        return isinstance(followed, _Followed) and self._alive.get(followed.key) is followed

    def restart(self) -> None:
        """The peak from here on."""
        self._tick += 1  # what has been freed since the last birth was before this
        self.peak, self._peak_tick = self.level, self._tick
        self.stretches, self.deaths = [self.level], []
        self.at_peak = self.where()

    def at_the_peak(self) -> Counter[Made]:
        """What was alive at the peak, in bytes."""
        found: Counter[Made] = Counter()
        tick = self._peak_tick
        rows = zip(self._made, self._parts, self._births, self._deaths, self._sizes, strict=True)
        for made, composition, birth, death, size in rows:
            if birth <= tick and (death < 0 or death >= tick):
                if composition is None:
                    found[made] += size
                else:
                    found.update(_scaled(composition, size))
        return found

    def forget(self) -> None:
        """Follow nothing any more."""
        self._alive.clear()


def _scaled(composition: Counter[Made], size: int) -> dict[Made, int]:
    """The largest parts, up to `size` bytes in all: the rest was there before."""
    found: dict[Made, int] = {}
    for made, bytes_ in composition.most_common():
        found[made] = min(bytes_, size)
        size -= found[made]
        if size <= 0:
            break
    return found


def device_of(tensor: Tensor) -> torch.device:
    """Where a tensor is, or plays to be."""
    return tensor.fake_device if isinstance(tensor, FakeTensor) else tensor.device


def _know(func: Any) -> tuple[str, Any, bool]:
    if isinstance(func, HigherOrderOperator):
        return func.name(), None, False
    name = func.name()
    if name.startswith(NO_OPERATION):
        return name, None, True
    is_view = name in NO_WORK or any(
        r.alias_info and not r.alias_info.is_write for r in func._schema.returns
    )
    return name.removeprefix("aten::").partition(".")[0], formula(func), is_view


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)
        elif isinstance(value, dict):
            yield from _tensors(value.values())


def tensors_in(values: Any) -> list[Tensor]:
    """Those in tuples, lists and dictionaries, and among the attributes of other objects."""
    return list(_tensors_inside(values, set()))


def _tensors_inside(value: Any, seen: set[int]) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif id(value) not in seen and not isinstance(value, (type, FunctionType, ModuleType)):
        seen.add(id(value))
        if isinstance(value, dict):
            parts = value.values()
        elif isinstance(value, (list, tuple)):
            parts = value
        else:
            parts = getattr(value, "__dict__", {}).values()
        for part in parts:
            yield from _tensors_inside(part, seen)


def storage_of(tensor: Tensor) -> int:
    """Tells storages that live at the same time apart."""
    return tensor.untyped_storage()._cdata
