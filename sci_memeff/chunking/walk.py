"""Evaluating a function a slice of its rows at a time, in the backward pass once more.

Autograd keeps the inputs alone. At most one slice's graph is alive: while the backward pass
recomputes it, differentiates it and adds its gradients to those of the slices before.

Costs one more evaluation of the function, and, with more slices than one, a second tensor of the
size of each shared operand and each parameter that a slice gives a gradient for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sci_memeff.chunking.ambient import Autocast, GeneratorStates
from sci_memeff.chunking.kept import keep, kept
from sci_memeff.chunking.parameters import MEND, find_parameters, name_of
from sci_memeff.chunking.recipe import note_recipe, recipes_of
from sci_memeff.chunking.slices import as_tensors, checked_size, cut
from sci_memeff.chunking.task import Task
from sci_memeff.errors import BadWalkError, SecondDerivativeError

__all__ = ["InSlices", "in_slices", "walk"]


def in_slices(size: int, *, recompute_shared: bool = False) -> InSlices:
    """A walk that takes `size` rows at a time, for a module's seam; see `walk`."""
    return InSlices(size, recompute_shared)


@dataclass(frozen=True)
class InSlices:
    """What `in_slices` returns: a `Walk` that two runs can compare and a file can keep."""

    size: int
    recompute_shared: bool = False

    def __post_init__(self) -> None:
        checked_size(self.size)

    def __call__(
        self,
        fn: Callable[..., Any],
        *,
        rows: Sequence[Tensor],
        shared: Sequence[Tensor] = (),
        in_dims: int | Sequence[int],
        out_dims: int | Sequence[int],
    ) -> Any:
        """Evaluate, as `walk` does."""
        return walk(
            fn,
            rows=rows,
            shared=shared,
            in_dims=in_dims,
            out_dims=out_dims,
            size=self.size,
            recompute_shared=self.recompute_shared,
        )


def walk(
    fn: Callable[..., Any],
    *,
    rows: Sequence[Tensor],
    shared: Sequence[Tensor] = (),
    in_dims: int | Sequence[int],
    out_dims: int | Sequence[int],
    size: int,
    recompute_shared: bool = False,
) -> Any:
    """`fn(*rows, *shared)`, evaluated `size` rows at a time and recomputed so for its gradients.

    `fn` is an nn.Module or a method of one, whose parameters then get their gradients, or a
    function of its arguments alone. Slice r of each output may depend on slice r of each of
    `rows`, on `shared` and on parameters; nothing can tell if it depends on more, as a mean over
    rows does, or if `fn` changes when it is called, as running statistics do. Dimensions are
    negative, one for all or one for each. Random numbers that `fn` draws are the same when it is
    recomputed, and others for every slice. Gradients of shared operands and of parameters are
    added up in the order of the slices, those of half-precision ones in float32.

    With `recompute_shared`, a shared operand that came from a walk with `recompute_shared` itself,
    unchanged, is not kept but walked again in the backward pass, once more than otherwise, for
    each walk that shares it; so are its own inputs then kept, which often are the rows. What came
    from such an operand in turn is kept: a chain is never walked from its beginning.

    Returns a tensor or a tuple, as `fn` does. BadWalkError where the arguments do not fit
    together, or where `fn` writes to them or reads something else that requires a gradient (found
    in the backward pass at the latest); BadConfigError for a size below 1; SecondDerivativeError
    when the gradients are to be differentiated again.
    """
    rows, shared = tuple(rows), tuple(shared)
    parameters, places = find_parameters(fn)
    task = Task(fn, cut(rows, in_dims, size), out_dims, len(shared), places)
    tensors = (*rows, *shared, *parameters)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return _Walked.apply(task, recompute_shared, *tensors)
    found = task.evaluate(tensors).result()
    if torch.is_grad_enabled() and any(output.requires_grad for output in as_tensors(found)):
        raise BadWalkError(
            f"{name_of(fn)} reads a tensor that requires a gradient and is none of its arguments",
            mend=MEND,
        )
    return found


class _Walked(torch.autograd.Function):
    """`Task.evaluate`, and in the backward pass `Task.differentiate`."""

    @staticmethod
    def forward(ctx: Any, task: Task, recompute_shared: bool, *tensors: Tensor) -> Any:
        ctx.set_materialize_grads(False)
        ctx.task = task
        ctx.autocast = Autocast.now(tensors)
        states, versions = GeneratorStates.now(tensors), [x._version for x in tensors]
        with ctx.autocast.again():
            joined = task.evaluate(tensors)
        if versions != [x._version for x in tensors]:
            raise BadWalkError(
                f"{name_of(task.fn)} writes to its arguments, or to its parameters",
                mend="let it write to tensors that it made: its arguments are read once more",
            )
        ctx.states = states.if_drawn()
        ctx.out_dims = joined.dims
        made = recipes_of(task, tensors) if recompute_shared else [None] * len(tensors)
        keep(ctx, tensors, len(tensors) - len(task.places.slots), made)
        result = joined.result(apart_from=tensors)
        if recompute_shared and not any(made):
            note_recipe(ctx, tensors, as_tensors(result))
        ctx.mark_non_differentiable(*(x for x in as_tensors(result) if not _has_gradient(x)))
        return result

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise SecondDerivativeError(
                f"{name_of(ctx.task.fn)} is walked, and the backward pass of a walk keeps no "
                "graph, so it cannot be differentiated again",
                mend="leave out create_graph=True, or give the modules that are differentiated "
                "twice their default walk again",
            )
        task, tensors = ctx.task, kept(ctx)
        gathered = [
            task.gradient_of(i, x) if needed else None
            for i, (x, needed) in enumerate(zip(tensors, ctx.needs_input_grad[2:], strict=True))
        ]
        drawn = ctx.states.again() if ctx.states else nullcontext()
        with drawn, ctx.autocast.again(), torch.enable_grad():
            task.differentiate(tensors, ctx.out_dims, grad_outputs, gathered)
        return (None, None, *(place and place.total() for place in gathered))


def _has_gradient(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()
