"""Stacks that keep the carry at every n-th step alone, and compute the steps between again.

Costs one more evaluation of every step, and one for each further level, against memory for one
carry per segment and for what the steps of a single segment keep.

Passes without a gradient, such as all but the last one of recycling, keep nothing anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain, repeat

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from sci_memeff._types import Iterate, Tensors, in_turn
from sci_memeff.checkpointing.spared import Spared, Sparing
from sci_memeff.checkpointing.stores import ON_DEVICE, Store
from sci_memeff.errors import BadConfigError

__all__ = ["InSegments", "in_segments"]


def in_segments(
    length: int | tuple[int, ...],
    *,
    inner: Iterate | None = None,
    keep: Store = ON_DEVICE,
    spare: Spared = "nothing",
    leave: int = 0,
) -> InSegments:
    """An `Iterate` that recomputes `length` steps at a time, the last ones possibly fewer.

    Of several lengths each is one segment's, in order, and the last of them all that follow.
    Decreasing ones need the fewest bytes for their number: in the backward pass the last segment
    comes first, while all the carries are still there, and the first one comes last, alone.

    `inner` iterates over the steps of a segment: `in_segments(7, inner=in_segments(1))` keeps every
    seventh carry, and while a segment is recomputed every one of its carries, so that one step's
    inside alone is alive. `keep` is where the carries between segments live; those between inner
    ones, which are needed at once, stay on the device.

    `spare` names operations whose results every segment keeps, on the device, instead of
    computing them again: fused attention ("attention": the size of the queries, and quadratic
    work), or that and all matrix products ("matmul"). There may then be one backward pass only.
    It reaches into walks, and keeps what each slice's operations give.

    The last `leave` steps are run plainly and not computed again: the backward pass begins with
    them, so what they keep is gone before the rest of the stack is recomputed.

    BadConfigError for a length below 1, a negative `leave`, and for what goes with the outer
    segments alone; in the forward pass, where no operation is one to spare.
    """
    return InSegments(length, inner, keep, spare, leave)


@dataclass(frozen=True)
class InSegments:
    """What `in_segments` returns: a value that two runs can compare and a file can keep.

    Outputs and gradients are bitwise those of `in_turn`, and in the order in which it adds them:
    autocast and the generators stand in the recomputation as they stood. The recomputation ends
    with the last tensor that the backward pass needs.
    """

    length: int | tuple[int, ...]
    inner: Iterate | None = None
    keep: Store = ON_DEVICE
    spare: Spared = "nothing"
    leave: int = 0

    def __post_init__(self) -> None:
        if self.leave < 0:
            raise BadConfigError(
                f"segments leave {self.leave} steps at the end as they are",
                mend="give leave of 0 or more; as many as the stack has recompute nothing",
            )
        if min(self._lengths, default=0) < 1:
            raise BadConfigError(
                f"a segment has at least one step, and its length is {self.length}",
                mend="give a length of 1 or more; one beyond the stack makes it a single segment",
            )
        Sparing(self.spare)
        if self.inner is not None and self.spare != "nothing":
            raise BadConfigError(
                f"segments spare {self.spare}, and inner ones would compute it again",
                mend="leave out either `spare` or `inner`",
            )
        if isinstance(self.inner, InSegments) and (
            self.inner.keep != ON_DEVICE or self.inner.spare != "nothing"
        ):
            raise BadConfigError(
                f"the inner segments, {self.inner}, would keep things elsewhere or spare them in "
                "the forward pass already, all of them",
                mend="give `keep` and `spare` to the outer segments alone",
            )

    def __call__(
        self,
        steps: Sequence[Callable[..., Tensors]],
        carry: Tensors,
        *,
        context: Sequence[Tensor] = (),
        every: bool = False,
    ) -> list[Tensors]:
        """Run `steps` as `Iterate` says."""
        stop = max(len(steps) - self.leave, 0)
        carries = self._recomputed(steps[:stop], carry, context, every=every)
        rest = in_turn(steps[stop:], carries[-1], context=context, every=every)
        if stop == len(steps):
            return carries
        return [*carries, *rest] if every and stop else rest

    def _recomputed(
        self,
        steps: Sequence[Callable[..., Tensors]],
        carry: Tensors,
        context: Sequence[Tensor],
        *,
        every: bool,
    ) -> list[Tensors]:
        keeps = torch.is_grad_enabled() and bool(steps)
        shelf = self.keep.opened(context) if keeps else None
        sparing = Sparing(self.spare)
        carries = []
        for start, stop in self._cuts(len(steps)):
            run = _Segment(
                tuple(steps[start:stop]),
                self.inner or in_turn,
                num_carried=len(carry),
                every=every,
            )
            # torch's own is the one to build on: gradients of parameters, of contexts and of
            # carries that pass a segment by flow through the graph of the forward pass, so hooks
            # fire once, partial and repeated backward passes work, and levels nest.
            # It saves a segment's inputs as any node would, and what is inside for itself.
            with shelf.keeping() if shelf else nullcontext():
                found = checkpoint(
                    run, *carry, *context, use_reentrant=False, context_fn=sparing.context_fn
                )
            carry = found[-1]
            carries = [*carries, *found] if every else found
        if keeps:
            sparing.refuse_in_vain()
        return carries or [carry]

    @property
    def _lengths(self) -> tuple[int, ...]:
        return (self.length,) if isinstance(self.length, int) else self.length

    def _cuts(self, num_steps: int) -> Iterator[tuple[int, int]]:
        """Where each segment of the stack starts and stops."""
        start = 0
        for length in chain(self._lengths, repeat(self._lengths[-1])):
            if start >= num_steps:
                return
            yield start, min(start + length, num_steps)
            start += length


@dataclass(frozen=True)
class _Segment:
    """Some steps, as a function of tensors."""

    steps: tuple[Callable[..., Tensors], ...]
    inner: Iterate
    num_carried: int
    every: bool

    def __call__(self, *tensors: Tensor) -> list[Tensors]:
        carry, context = tensors[: self.num_carried], tensors[self.num_carried :]
        return self.inner(self.steps, carry, context=context, every=self.every)
