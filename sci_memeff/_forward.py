"""The seam that every module has: how its `forward` is run."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from torch import nn

from sci_memeff._types import Forward
from sci_memeff.errors import BadPlanError

__all__ = ["PutForward", "clear_forward", "has_forward", "held_forward", "put_forward"]


class PutForward:
    """What stands in a module's `__dict__` as `forward` while a plan says how that is run.

    Copies and pickles with its module, to which it is bound as a method would be, but weakly: a
    cycle would keep a model that nobody holds, and all its parameters, until the garbage
    collector comes.
    """

    __name__ = "forward"

    def __init__(self, module: nn.Module, use: Forward) -> None:
        self._module = weakref.ref(module)
        self.use = use
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
        return self.use(self.__wrapped__, args, kwargs)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_module": self.__self__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _module=weakref.ref(state["_module"]))


class _Owned:
    """A function that stands as a module's forward, and knows whose it is, as a method does."""

    __name__ = "forward"

    def __init__(self, module: nn.Module, fn: Callable[..., Any]) -> None:
        self.__self__ = module
        self.__wrapped__ = fn

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.__wrapped__(*args, **kwargs)


def has_forward(module: nn.Module) -> bool:
    """Whether it can be called at all: a ModuleList cannot."""
    return "forward" in vars(module) or type(module).forward is not nn.Module.forward


def held_forward(module: nn.Module) -> Forward | None:
    """What a plan put there; None where nothing."""
    found = vars(module).get("forward")
    return found.use if isinstance(found, PutForward) else None


def put_forward(module: nn.Module, use: Forward) -> None:
    """Have `use` run the module's forward."""
    clear_forward(module)
    vars(module)["forward"] = PutForward(module, use)


def clear_forward(module: nn.Module) -> None:
    """Leave the module as it was: without an attribute, unless somebody had put one there."""
    found = vars(module).get("forward")
    if isinstance(found, PutForward):
        del vars(module)["forward"]
        if found.own is not None:
            vars(module)["forward"] = found.own
