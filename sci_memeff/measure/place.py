"""Where a step is: in which module and in which phase, in the backward pass too."""

from __future__ import annotations

import sys
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.autograd.graph import _engine_run_backward
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.optim.optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from sci_memeff.measure.log import Log

__all__ = ["Here", "Place"]

PARTS = ("forward", "backward", "recompute", "optimizer")

_next_node: Callable[[], int] = torch._C._autograd._get_sequence_nr  # type: ignore[attr-defined]
_ENGINE = _engine_run_backward.__code__
_NO_TASK = -1
_LEAF = 2**64 - 1  # the sequence number of the nodes that accumulate a leaf's gradient
# frames between an operation and whoever asked for it: torch's, this package's, type checkers'
_BETWEEN_ENDS = (
    "/torch/_compile.py",
    "/torch/_dynamo/eval_frame.py",
    "/torch/_ops.py",
    "/jaxtyping/_decorator.py",
)
_BETWEEN_STARTS = (str(Path(__file__).parent), "<@beartype")


class Here(NamedTuple):
    """Of one operation: its module's number and its phase's.

    `is_backward`: autograd's engine is at work; `is_gradient`: it makes a leaf's `.grad`.
    """

    module: int
    phase: int
    is_backward: bool
    is_gradient: bool


class _Nodes:
    """Which module made each node of autograd's graph, by the nodes' sequence numbers."""

    def __init__(self) -> None:
        self._starts = [0]
        self._modules = [0]
        self._end = 0

    def made(self, module: int) -> None:
        """The nodes made since the last call are this module's."""
        end = _next_node()
        if module != self._modules[-1]:
            self._starts.append(self._end)
            self._modules.append(module)
        self._end = end

    def module_of(self, sequence: int) -> int:
        return self._modules[bisect_right(self._starts, sequence) - 1]


class _Thread(threading.local):
    """Of each thread: the modules it is inside of, with their graph task, and its nodes."""

    def __init__(self) -> None:
        self.inside: list[tuple[nn.Module, int, int]] = []
        self.nodes = _Nodes()


class Place:
    """Asked after every operation; needs its hooks (`watching`) to know modules and optimizers.

    `adopt` is told of every module that gets a name, `on_optimizer` of an optimizer before and
    after each of its steps; `module_of_leaf` is asked whose a parameter is.
    """

    def __init__(
        self,
        log: Log,
        *,
        adopt: Callable[[nn.Module, str], None],
        module_of_leaf: Callable[[Tensor], int | None],
        on_optimizer: Callable[[Optimizer], None],
    ) -> None:
        self._log = log
        self._adopt = adopt
        self._module_of_leaf = module_of_leaf
        self._on_optimizer = on_optimizer
        self._names: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()
        self._thread = _Thread()
        self._home = self._thread.nodes
        self._in_optimizer = False
        self._user: list[str] = []

    def name(self, model: nn.Module, root: str) -> None:
        """Name every module in `model`: its path, below `root` if that is not empty."""
        for path, module in model.named_modules():
            full = ".".join(part for part in (root, path) if part) or f"({type(model).__name__})"
            if module not in self._names:
                self._names[module] = self._log.all_modules.number(full)
                self._adopt(module, full)

    def here(self) -> Here:
        """Where the operation that has just run belongs."""
        task = torch._C._current_graph_task_id()
        if task == _NO_TASK:
            inside = self._thread.inside
            module = inside[-1][1] if inside else 0
            # a closure inside an optimizer's step goes forward
            auto = "optimizer" if self._in_optimizer and not inside else "forward"
            is_gradient = False
        else:
            module, auto, is_gradient = self._in_backward(task)
        self._thread.nodes.made(module)
        return Here(module, self._phase(auto), task != _NO_TASK, is_gradient)

    def _in_backward(self, task: int) -> tuple[int, str, bool]:
        node = torch._C._current_autograd_node()
        sequence = _LEAF if node is None else node._sequence_nr()
        is_leaf = node is not None and sequence == _LEAF
        recording = torch.is_grad_enabled()
        by_engine = _asked_by_engine() if recording or is_leaf else True
        inside = self._thread.inside
        if inside and inside[-1][2] == task:
            module = inside[-1][1]
        elif is_leaf:
            module = self._module_of_leaf(getattr(node, "variable")) or 0  # noqa: B009
        else:
            module = 0 if node is None else self._maker().module_of(sequence)
        auto = "recompute" if recording and not by_engine else "backward"
        return module, auto, is_leaf and by_engine

    def _maker(self) -> _Nodes:
        """The nodes of the thread that made the graph now going backward.

        A device's own thread runs the graph of the thread that began, unless the pass was begun
        in that thread itself, for what it has just recomputed.
        """
        mine = self._thread.nodes
        if mine is self._home:
            return mine
        frame: Any = sys._getframe()
        while frame is not None and frame.f_code is not _ENGINE:
            frame = frame.f_back
        return self._home if frame is None else mine

    def _phase(self, auto: str) -> int:
        user = self._user
        if not user:
            return self._log.all_phases.number((auto,))
        named = [name for name in user if name in PARTS]
        rest = [name for name in user if name not in PARTS]
        return self._log.all_phases.number((named[-1] if named else auto, *rest))

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Everything inside belongs to a phase of this name, below the ones around it."""
        self._user.append(name)
        try:
            yield
        finally:
            self._user.pop()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """With hooks on all modules and all optimizers; they are gone afterwards."""
        with ExitStack() as hooks:
            for handle in (
                register_module_forward_pre_hook(self._enter),
                register_module_forward_hook(self._leave, always_call=True),
                register_optimizer_step_pre_hook(self._before_step),
                register_optimizer_step_post_hook(self._after_step),
            ):
                hooks.callback(handle.remove)
            yield

    def _enter(self, module: nn.Module, _inputs: Any) -> None:
        if module not in self._names:
            self.name(module, f"({type(module).__name__})")
        thread = self._thread
        task = torch._C._current_graph_task_id()
        self._settle(task)
        thread.inside.append((module, self._names[module], task))

    def _leave(self, module: nn.Module, _inputs: Any, _outputs: Any) -> None:
        inside = self._thread.inside
        if any(entry[0] is module for entry in inside):
            self._settle(torch._C._current_graph_task_id())
            while inside.pop()[0] is not module:
                pass

    def _settle(self, task: int) -> None:
        """Nodes made so far are the present module's, in a backward pass the node's own."""
        thread = self._thread
        inside = thread.inside
        if inside and inside[-1][2] == task:
            thread.nodes.made(inside[-1][1])
        elif task == _NO_TASK:
            thread.nodes.made(0)
        else:
            thread.nodes.made(self._in_backward(task)[0])

    def _before_step(self, optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        self._on_optimizer(optimizer)
        self._in_optimizer = True

    def _after_step(self, optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        self._in_optimizer = False
        self._on_optimizer(optimizer)


def _asked_by_engine() -> bool:
    """Whether autograd's engine itself asked for the operation, and no Python code inside it."""
    frame: Any = sys._getframe(1)
    while frame is not None and _is_between(frame.f_code):
        frame = frame.f_back
    return frame is None or frame.f_code is _ENGINE


def _is_between(code: Any) -> bool:
    file = code.co_filename
    is_known = file.startswith(_BETWEEN_STARTS) or file.endswith(_BETWEEN_ENDS)
    return is_known or code.co_name == "__torch_dispatch__"
