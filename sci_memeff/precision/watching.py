"""Logging the ranges of FP8 layers while a model trains, and finding who makes a NaN."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.utils._pytree import tree_leaves

from sci_memeff.errors import PrecisionError
from sci_memeff.precision.ranges import Kind, Ranges

__all__ = ["note_ranges", "watch_ranges"]

MANY = 4096  # magnitudes are read together: each reading has the host wait for the device


@contextmanager
def watch_ranges(model: nn.Module) -> Iterator[Ranges]:
    """Log the largest magnitudes of what the FP8 layers of `model` multiply in here.

    What is recomputed is logged as often as it is computed. Outputs of all modules and their
    gradients are looked at as well: PrecisionError, within a few thousand tensors or at the end,
    names the module that made the first NaN, where the block ends without another exception.

    Costs two passes over the inputs and outputs of every module and no bytes to speak of; fake
    tensors are passed over.
    """
    log = _Log(model)
    with ExitStack() as hooks:
        for handle in (
            register_module_forward_pre_hook(log.enter),
            register_module_forward_hook(log.leave, always_call=True),
        ):
            hooks.callback(handle.remove)
        _watching.append(log)
        hooks.callback(lambda: _watching.remove(log))
        yield log.ranges
    log.read()


def note_ranges(layer: nn.Module, rows: Tensor, weight: Tensor, found: Tensor) -> None:
    """Tell everyone who watches what an FP8 layer multiplies, the gradient when it comes."""
    if not _watching or torch.compiler.is_compiling():
        return
    for log in _watching:
        log.note_layer(layer, rows, weight, found)


class _Note(NamedTuple):
    """A tensor that was seen: whose, what of it, and inside of which module."""

    module: str
    what: str
    within: str

    @property
    def kind(self) -> Kind | None:
        """What the ranges have it under."""
        return next((kind for kind in get_args(Kind) if kind == self.what), None)


class _Log:
    """The notes of one model, in the order in which things were computed."""

    def __init__(self, model: nn.Module) -> None:
        self.ranges = Ranges()
        self._modules = {name or "the model": module for name, module in model.named_modules()}
        self._names = {module: name for name, module in self._modules.items()}
        self._inside: list[str] = []
        self._given_nan = False
        self._notes: list[_Note] = []
        self._magnitudes: list[Tensor] = []

    def enter(self, module: nn.Module, inputs: Any) -> None:
        """A module begins."""
        name = self._names.get(module)
        if name is not None:
            self._look(inputs, name, "input")
            self._inside.append(name)

    def leave(self, module: nn.Module, _inputs: Any, outputs: Any) -> None:
        """A module has ended; those inside of it that raised have as well."""
        name = self._names.get(module)
        if name is None:
            return
        while name in self._inside and self._inside.pop() != name:
            pass
        for output in self._look(outputs, name, "output"):
            if output.requires_grad:
                output.register_hook(partial(self._note, name, "output's gradient"))

    def note_layer(self, layer: nn.Module, rows: Tensor, weight: Tensor, found: Tensor) -> None:
        """An FP8 layer has multiplied these."""
        name = self._names.get(layer)
        if name is None:
            return
        self._note(name, "weight", weight)
        self._note(name, "activation", rows)
        if found.requires_grad:
            found.register_hook(partial(self._note, name, "gradient"))

    def read(self) -> None:
        """Have the ranges hold all that was noted."""
        notes, magnitudes = self._notes, self._magnitudes
        self._notes, self._magnitudes = [], []
        if not notes:
            return
        values = torch.stack([pair.to(magnitudes[0].device) for pair in magnitudes]).tolist()
        for note, (amax, row) in zip(notes, values, strict=True):
            if amax != amax and note.what == "input" and not note.within:
                self._given_nan = True  # and may make no use of it
            elif amax != amax:
                raise _made_by(note, self._modules[note.module], given_nan=self._given_nan)
            if note.kind is not None:
                self.ranges.of(note.module, note.kind).add(amax, row)

    def _look(self, values: Any, name: str, what: str) -> list[Tensor]:
        found = [x for x in tree_leaves(values) if isinstance(x, Tensor) and x.is_floating_point()]
        for tensor in found:
            self._note(name, what, tensor)
        return found

    def _note(self, name: str, what: str, tensor: Tensor) -> None:
        if isinstance(tensor, FakeTensor) or tensor.is_meta or not tensor.numel():
            return
        if len(self._notes) >= MANY:
            self.read()
        self._notes.append(_Note(name, what, self._inside[-1] if self._inside else ""))
        with torch.no_grad():
            self._magnitudes.append(_magnitudes(tensor.detach()))


def _magnitudes(tensor: Tensor) -> Tensor:
    """Of the whole tensor, and of its smallest row that is not zero."""
    rows = torch.linalg.vector_norm(torch.atleast_1d(tensor), torch.inf, -1, dtype=torch.float32)
    amax = rows.max()
    return torch.stack([amax, torch.where(rows > 0, rows, amax).min()])


def _made_by(note: _Note, module: nn.Module, *, given_nan: bool) -> PrecisionError:
    """Of the first note of a NaN in the order of computing."""
    own = [name for name, p in module.named_parameters(recurse=False) if p.isnan().any()]
    if own:
        wrong = f"{note.module} holds NaN in its {' and '.join(own)}"
    elif note.what in ("gradient", "output's gradient"):
        wrong = (
            f"in the backward pass, the first NaN came to the output of {note.module}, from what "
            "reads that output"
        )
    elif note.what == "output":
        wrong = f"{note.module} made a NaN of inputs that held none"
    else:
        wrong = f"{note.within} gave {note.module} a NaN that none of its modules had made"
    if given_nan:
        wrong += ", after the model itself had been given one"
    return PrecisionError(
        wrong,
        mend="look at what that module divides by and takes roots and logarithms of, restart from "
        "a checkpoint before it, or lower the learning rate",
    )


_watching: list[_Log] = []
