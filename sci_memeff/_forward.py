"""The seams that every module has: how its `forward` is run, and in which precision."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from torch import nn

from sci_memeff._types import Forward, plainly
from sci_memeff.errors import BadPlanError

__all__ = ["PutForward", "has_forward", "held_forward", "put_forward"]


class PutForward:
    """What stands in a module's `__dict__` as `forward` while a plan says how that is run.

    `use` runs what `precision` runs, and that the module's own: a forward that is computed again,
    or in slices, casts what it reads each time.

    Copies and pickles with its module, to which it is bound as a method would be, but weakly: a
    cycle would keep a model that nobody holds, and all its parameters, until the garbage
    collector comes.
    """

    __name__ = "forward"

    def __init__(self, module: nn.Module, use: Forward, precision: Forward, name: str) -> None:
        self._module = weakref.ref(module)
        self.use = use
        self.precision = precision
        self.name = name  # of the module in the model, for messages
        self.own: Callable[..., Any] | None = vars(module).get("forward")

    @property
    def __self__(self) -> nn.Module:
        """The module; BadPlanError where it is gone."""
        module = self._module()
        if module is None:
            raise BadPlanError(
                "the module that this forward belongs to is gone",
                mend="hold the module for as long as its forward is called",
            )
        return module

    @property
    def __wrapped__(self) -> Callable[..., Any]:
        """The forward that stood here before, the class's unless somebody had put another."""
        module = self.__self__
        if self.own is None:
            return type(module).forward.__get__(module)
        owned = getattr(self.own, "__self__", None) is module
        return self.own if owned else _Owned(module, self.own)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.precision is plainly:
            return self.use(self.__wrapped__, args, kwargs)
        if self.use is plainly:
            return self.precision(self.__wrapped__, args, kwargs)
        return self.use(_Cast(self.__self__, self.__wrapped__, self.precision), args, kwargs)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_module": self.__self__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # one that an earlier version wrote has no precision
        state = {"precision": plainly, "name": "", **state}
        vars(self).update(state, _module=weakref.ref(state["_module"]))


class _Owned:
    """A function that stands as a module's forward, and knows whose it is, as a method does."""

    __name__ = "forward"

    def __init__(self, module: nn.Module, fn: Callable[..., Any]) -> None:
        self.__self__ = module
        self.__wrapped__ = fn

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.__wrapped__(*args, **kwargs)


class _Cast:
    """A module's forward in some precision, as a function of its arguments."""

    __name__ = "forward"

    def __init__(self, module: nn.Module, fn: Callable[..., Any], precision: Forward) -> None:
        self.__self__ = module
        self.__wrapped__ = fn
        self._precision = precision

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._precision(self.__wrapped__, args, kwargs)


def has_forward(module: nn.Module) -> bool:
    """Whether it can be called at all: a ModuleList cannot."""
    return "forward" in vars(module) or type(module).forward is not nn.Module.forward


def held_forward(module: nn.Module) -> PutForward | None:
    """What a plan put there; None where nothing."""
    found = vars(module).get("forward")
    return found if isinstance(found, PutForward) else None


def put_forward(module: nn.Module, use: Forward, precision: Forward, name: str) -> None:
    """Have `use` run the module's forward, and that in `precision`; plainly, nothing is put."""
    _clear(module)
    if use is not plainly or precision is not plainly:
        vars(module)["forward"] = PutForward(module, use, precision, name)


def _clear(module: nn.Module) -> None:
    """Leave the module as it was: without an attribute, unless somebody had put one there."""
    found = vars(module).get("forward")
    if isinstance(found, PutForward):
        del vars(module)["forward"]
        if found.own is not None:
            vars(module)["forward"] = found.own
