"""Adam's states and the averaged weights, kept in one place and updated in one pass over memory.

Bytes per parameter, at rest and, in the last column, at the end of a backward pass:

    model    weights   two moments   average   master   at rest   gradient   in all
    fp32           4             8         4        -        16          4       20
    bf16           2             8         4        4        18          2       20

With `release_gradients` it is never more than at rest, but for the gradients of a few parameters.

After AlphaFold 2's Supplement, sections 1.11.3 (Adam) and 1.11.7 (averaged weights).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adam import adam
from torch.optim.swa_utils import get_ema_multi_avg_fn

from sci_memeff.training.config import OptimizerConfig

__all__ = ["AVERAGE", "HALF", "STEP", "AdamWithAverage", "norm_of", "state_names"]

STEP, FIRST, SECOND, AVERAGE, MASTER = "step", "exp_avg", "exp_avg_sq", "average", "master"

BUCKET = 1 << 20  # elements that are updated at a time: they stay in a cache, and are few bytes
HALF = (torch.bfloat16, torch.float16)


class AdamWithAverage(torch.optim.Optimizer):
    """Adam over the parameters of `model` that need a gradient, and their moving averages.

    An update goes through the parameters in buckets of about a million elements: torch's fused
    Adam, then the average, w' = decay · w' + (1 − decay) · w, then the gradients are let go. It
    makes nothing of a parameter's size, but for parameters in bf16 or fp16 float32 copies of one
    bucket's gradients. Such parameters are roundings of float32 ones, which are kept here as
    `master`; moments and averages are float32 too. A master starts as the parameter is at its
    first gradient, and from then on what is written to the parameter itself is overwritten.

    `state[parameter]` is empty before the parameter's first gradient, and its average is then the
    parameter itself. Afterwards it holds `step`, `exp_avg` and `exp_avg_sq`, as torch's Adam has
    them, `average`, and `master` where there is one.

    With `config.release_gradients`, every parameter is updated inside the backward pass, once,
    when its gradient is whole; `step` then does what is left. Not for data parallelism, which
    means gradients after that.
    """

    def __init__(self, model: nn.Module, config: OptimizerConfig) -> None:
        defaults = {
            "lr": config.learning_rate,
            "betas": (config.beta1, config.beta2),
            "eps": config.eps,
            "ema_decay": config.ema_decay,
            "fused": True,  # tells torch where `step` belongs when states are loaded
        }
        super().__init__([p for p in model.parameters() if p.requires_grad], defaults)
        self._in_backward: set[nn.Parameter] = set()  # updated there, since the last `step`
        self._squares: dict[torch.device, Tensor] = {}
        if config.release_gradients:
            for p in self.param_groups[0]["params"]:
                p.register_post_accumulate_grad_hook(self._release)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update parameters and averages by the gradients in `.grad`, which is None afterwards.

        A parameter without a gradient stays, and its average goes on towards it.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for bucket in _buckets([p for p in group["params"] if p not in self._in_backward]):
                self._update(bucket, group)
        self._in_backward.clear()
        return loss

    @property
    def has_released(self) -> bool:
        """Whether the backward pass has updated parameters since the last `step`."""
        return bool(self._in_backward)

    def released_norm(self) -> float:
        """The global norm of the gradients released since it was asked for; it waits for them."""
        squares = [float(square) for square in self._squares.values()]
        self._squares.clear()
        return math.sqrt(sum(squares))

    def average(self, parameter: nn.Parameter) -> Tensor:
        """The averaged weights that belong to `parameter`; not a copy."""
        return self.state[parameter][AVERAGE] if parameter in self.state else parameter.detach()

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the parameters hold their averages: for evaluation, never for an update.

        Tensors change places, so it costs no bytes; of parameters in half precision, one copy.
        """
        own = [(p, p.data) for group in self.param_groups for p in group["params"]]
        try:
            for p, _ in own:
                p.data = self.average(p).to(p.dtype)
            yield
        finally:
            for p, data in own:
                p.data = data

    @torch.no_grad()
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over copies of the states, in the types that they have."""
        super().load_state_dict(dict(state_dict))
        numbers = [number for group in state_dict["param_groups"] for number in group["params"]]
        parameters = [p for group in self.param_groups for p in group["params"]]
        for number, p in zip(numbers, parameters, strict=True):
            if number in state_dict["state"]:  # where torch would round to the parameter's type
                self.state[p] = _laid_out_as(p, state_dict["state"][number])

    @torch.no_grad()
    def _release(self, p: nn.Parameter) -> None:
        """Update one parameter inside the backward pass, unless a gradient was not finite so far.

        Whether it was stays on the device: to ask would hold up the backward pass.
        """
        assert p.grad is not None
        square = self._squares.get(p.device, 0) + norm_of(p.grad).square()
        self._squares[p.device] = square
        self._in_backward.add(p)
        self._update([p], self.param_groups[0], refused=(~square.isfinite()).float())

    def _update(
        self,
        parameters: Sequence[nn.Parameter],
        group: Mapping[str, Any],
        refused: Tensor | None = None,
    ) -> None:
        """The whole update of one bucket; where `refused` is 1, of the averages alone."""
        given = [p for p in parameters if p.grad is not None]
        if given:
            self._adam(given, group, refused)
        states = [(p, self.state[p]) for p in parameters if p in self.state]
        if states:
            averages = [state[AVERAGE] for _, state in states]
            weights = [state.get(MASTER, p) for p, state in states]
            get_ema_multi_avg_fn(group["ema_decay"])(averages, weights, 0)  # counts nothing

    def _adam(
        self, parameters: Sequence[nn.Parameter], group: Mapping[str, Any], refused: Tensor | None
    ) -> None:
        """Adam's step for parameters that have a gradient, which is let go."""
        states = [self._state_of(p) for p in parameters]
        weights = [state.get(MASTER, p) for p, state in zip(parameters, states, strict=True)]
        beta1, beta2 = group["betas"]
        adam(
            weights,
            [_gradient_for(w, p) for w, p in zip(weights, parameters, strict=True)],
            [state[FIRST] for state in states],
            [state[SECOND] for state in states],
            [],
            [state[STEP] for state in states],
            fused=True,
            found_inf=refused,
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=0.0,
            eps=group["eps"],
            maximize=False,
        )
        for p, weight in zip(parameters, weights, strict=True):
            if weight is not p:
                p.copy_(weight)
            p.grad = None

    def _state_of(self, p: nn.Parameter) -> dict[str, Tensor]:
        """The parameter's states, made at its first gradient, from weights not yet updated."""
        state = self.state[p]
        if not state:
            weight = p.detach()
            if p.dtype in HALF:
                state[MASTER] = weight = weight.float()
            state[STEP] = torch.zeros((), dtype=torch.float32, device=p.device)
            state[FIRST] = torch.zeros_like(weight)
            state[SECOND] = torch.zeros_like(weight)
            state[AVERAGE] = weight.clone()
        elif state[FIRST].stride() != p.stride():
            state = self.state[p] = _laid_out_as(p, state)
        return state


def state_names(p: nn.Parameter) -> tuple[str, ...]:
    """What `AdamWithAverage.state` holds of a parameter after its first gradient."""
    names = (STEP, FIRST, SECOND, AVERAGE)
    return (*names, MASTER) if p.dtype in HALF else names


def norm_of(gradient: Tensor) -> Tensor:
    """Its Euclidean norm, of half precision in float32."""
    dtype = torch.float32 if gradient.dtype in HALF else None
    return torch.linalg.vector_norm(gradient, dtype=dtype)


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Neighbours of at most BUCKET elements together; a larger one is alone."""
    bucket: list[nn.Parameter] = []
    size = 0
    for p in parameters:
        if bucket and size + p.numel() > BUCKET:
            yield bucket
            bucket, size = [], 0
        bucket.append(p)
        size += p.numel()
    if bucket:
        yield bucket


def _gradient_for(weight: Tensor, p: nn.Parameter) -> Tensor:
    """The gradient in the type and the layout of `weight`.

    The fused kernel pairs elements by their places in memory, whatever the strides say.
    """
    assert p.grad is not None
    if p.grad.dtype == weight.dtype and p.grad.stride() == weight.stride():
        return p.grad
    return torch.empty_like(weight).copy_(p.grad)


def _laid_out_as(p: nn.Parameter, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies of the states, on the parameter's device and with its strides."""
    return {
        key: torch.empty_like(value if key == STEP else p, dtype=value.dtype, device=p.device)
        .detach()
        .copy_(value)
        for key, value in state.items()
    }
