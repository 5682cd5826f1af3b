"""Measure a step without running it: on tensors that have shapes and storages but no bytes."""

from __future__ import annotations

import copy
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
    UnsupportedFakeTensorException,
)
from torch.optim import Optimizer
from torch.overrides import TorchFunctionMode

from sci_memeff.errors import CannotSimulateError
from sci_memeff.measure.caches import forgetting
from sci_memeff.measure.measured import Measured
from sci_memeff.measure.measuring import measure

__all__ = ["built_on_meta", "fake_copies", "meta_copy", "refusing_values", "simulate"]

Batch = TypeVar("Batch")

_NOT_THE_STEP = (
    "/torch/",
    "/jaxtyping/",
    "<@beartype",
    "contextlib.py",
    # what calls the step's modules in a simulation, or in place of their own forward
    *(
        str(Path(__file__).parents[1] / part)
        for part in ("measure", "planning", "checkpointing", "chunking", "_forward.py")
    ),
)


def simulate(
    model: nn.Module | Callable[[], nn.Module],
    step: Callable[[nn.Module, Batch], Tensor | None],
    batch: Batch,
    *,
    optimizer: Callable[[nn.Module], Optimizer] | None = None,
    updates: int = 1,
    device: torch.device | str | None = None,
) -> Measured:
    """The measurement that `step(model, batch).backward()` would give, to the byte.

    Nothing is computed and no tensor is allocated: a model of any size is simulated in the memory
    of its Python objects. `model` is a module, on any device, meta included, which is not touched;
    or a function that builds one (it is called under `torch.device("meta")`). `batch` may be any
    structure of tensors; a step that returns None has gone backward itself. With `optimizer`, a
    function from the model to its optimizer, each of `updates` ends with its step; from the second
    on, states and activations are alive together. `device` moves everything there.

    CannotSimulateError for a step whose operations depend on values: `.item()`, `bool(tensor)`,
    `nonzero`, a mask used as an index; and for a GPU's tensors on a build of torch without CUDA.
    Values that were drawn or computed with numpy are real, and are used.
    """
    chosen = None if device is None else torch.device(device)
    if chosen is not None and chosen.type == "cuda" and not torch.backends.cuda.is_built():
        raise CannotSimulateError(
            "this build of torch has no CUDA, and autograd needs it for fake CUDA tensors too",
            mend="leave `device` out: the bytes are the same but for kernels of CUDA's own",
        )
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    model, batch = fake_copies(mode, model, batch, chosen)
    with refusing_values(), forgetting(), mode:
        update = None if optimizer is None else optimizer(model)
        with measure(model) as measured:
            for _ in range(updates):
                _run(model, step, batch, update)
    return measured


@contextmanager
def refusing_values() -> Iterator[None]:
    """CannotSimulateError, with the line, for what asks fake tensors for values in here."""
    try:
        yield
    except (
        DataDependentOutputException,
        DynamicOutputShapeException,
        UnsupportedFakeTensorException,
    ) as error:
        raise CannotSimulateError(
            f"{_where(error)}: {error} needs the values of a tensor, and fake ones have none",
            mend="replace .item(), bool(tensor), nonzero and boolean indexing there by operations "
            "of fixed shapes (torch.where, masks that multiply), say is_causal= where torch's "
            "transformers are given a mask, or measure a real step",
        ) from error


def fake_copies(
    mode: FakeTensorMode,
    model: nn.Module | Callable[[], nn.Module],
    batch: Batch,
    device: torch.device | None = None,
) -> tuple[nn.Module, Batch]:
    """Fake copies of both, held by nothing else; see `simulate` for what they may be."""
    if not isinstance(model, nn.Module):
        model = built_on_meta(model)
    copies = _FakeCopies(mode, device)
    return copies.of_module(model), copies.of(batch)


def built_on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    """What a function builds, without memory."""
    with torch.device("meta"):
        return build()


def meta_copy(model: nn.Module) -> nn.Module:
    """A copy on the meta device."""
    return _FakeCopies(None, torch.device("meta")).of_module(model)


def _run(
    model: nn.Module,
    step: Callable[[nn.Module, Any], Tensor | None],
    batch: Any,
    optimizer: Optimizer | None,
) -> None:
    if optimizer is not None:
        optimizer.zero_grad()
    loss = step(model, batch)
    if isinstance(loss, Tensor) and loss.requires_grad:
        loss.backward()
    del loss
    if optimizer is not None:
        optimizer.step()


def _where(error: Exception) -> str:
    """The innermost line that is the user's."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not any(part in frame.filename for part in _NOT_THE_STEP):
            return f"{frame.filename}, line {frame.lineno}"
    return "the step"


class _FakeCopies(TorchFunctionMode):
    """Deep copies in which every tensor is fake; tensors that shared a storage share one."""

    def __init__(self, mode: FakeTensorMode | None, device: torch.device | None) -> None:
        super().__init__()
        self._mode = mode or nullcontext()
        self._device = device
        self._storages: dict[int, Tensor] = {}
        self._memo: dict[int, Any] = {}
        self._kept: list[Tensor] = []  # what the memo's ids belong to

    def of_module(self, model: nn.Module) -> nn.Module:
        for parameter in model.parameters():
            self._replace(parameter)
        return self.of(model)

    def of(self, value: Any) -> Any:
        with self:
            return copy.deepcopy(value, self._memo)

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is Tensor.__deepcopy__:
            return self._replace(args[0])
        return func(*args, **(kwargs or {}))

    def _replace(self, tensor: Tensor) -> Tensor:
        """The fake tensor that stands for a real one from now on."""
        if id(tensor) in self._memo:
            return self._memo[id(tensor)]
        with torch.no_grad():
            fake = self._fake(tensor)
            if isinstance(tensor, nn.Parameter):
                fake = nn.Parameter(fake, requires_grad=tensor.requires_grad)
            elif tensor.requires_grad:
                fake.requires_grad_()
            if tensor.is_leaf and tensor.grad is not None:
                fake.grad = self._fake(tensor.grad)
        self._memo[id(tensor)] = fake
        self._kept.append(tensor)
        return fake

    def _fake(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        device = self._device or _default(tensor.device)
        with self._mode:
            if storage._cdata not in self._storages:
                if tensor.is_contiguous() and tensor.nbytes == storage.nbytes():
                    whole = torch.empty(tensor.shape, dtype=tensor.dtype, device=device)
                    self._storages[storage._cdata] = whole
                    return whole
                flat = torch.empty(storage.nbytes(), dtype=torch.uint8, device=device)
                self._storages[storage._cdata] = flat
            flat = self._storages[storage._cdata].detach().view(-1).view(torch.uint8)
            size = flat.numel() // tensor.element_size() * tensor.element_size()
            typed = flat[:size].view(tensor.dtype)
            return typed.as_strided(
                tensor.size(), tensor.stride(), tensor.storage_offset()
            ).detach()


def _default(device: torch.device) -> torch.device:
    return torch.device("cpu") if device.type == "meta" else device
