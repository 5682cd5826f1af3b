"""What a recomputed segment need not compute again: results that cost much, kept as they are."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Literal, get_args

from torch.utils.checkpoint import (
    CheckpointPolicy,
    create_selective_checkpoint_contexts,
    noop_context_fn,
)

from sci_memeff.errors import BadConfigError

__all__ = ["Spared", "Sparing"]

Spared = Literal["nothing", "attention", "matmul"]

_PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "_scaled_mm", "convolution")
Contexts = tuple[AbstractContextManager[Any], AbstractContextManager[Any]]


class Sparing:
    """One run's answer to whether an operation's result is kept, and how many were."""

    def __init__(self, spared: str) -> None:
        if spared not in get_args(Spared):
            raise BadConfigError(
                f"a segment cannot spare {spared!r}",
                mend=f"give one of {', '.join(map(repr, get_args(Spared)))}",
            )
        self._spared = spared
        self._count = 0

    @property
    def context_fn(self) -> Callable[[], Contexts]:
        """For one segment's checkpoint."""
        if self._spared == "nothing":
            return noop_context_fn
        return partial(create_selective_checkpoint_contexts, self._decide)

    def refuse_in_vain(self) -> None:
        """BadConfigError where no operation was one to spare."""
        if self._spared != "nothing" and not self._count:
            raise BadConfigError(
                f"segments were to spare {self._spared}, and their steps ran no such operation",
                mend="put a kernel that is one operation on the steps' seams, such as torch's "
                "scaled_dot_product_attention, spare 'matmul', or spare nothing",
            )

    def _decide(self, _context: Any, operation: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
        if not self._is_spared(operation.name()):
            return CheckpointPolicy.PREFER_RECOMPUTE
        self._count += 1
        return CheckpointPolicy.MUST_SAVE

    def _is_spared(self, name: str) -> bool:
        """By the name of an operation, such as aten::addmm or aten::_scaled_dot_product_…"""
        if "attention" in name:
            return True
        library, _, rest = name.partition("::")
        product = library == "aten" and rest.partition(".")[0] in _PRODUCTS
        return self._spared == "matmul" and product
