"""Adam's states and the averaged weights, kept in one place and updated in one pass over memory.

Bytes per parameter with moments as they are, at rest and, in the last column, at the end of a
backward pass:

    model    weights   two moments   average   master   at rest   gradient   in all
    fp32           4             8         4        -        16          4       20
    bf16           2             8         4        4        18          2       20

With `release_gradients` it is never more than at rest, but for the gradients of a few parameters.
Other kinds keep moments in 2 bytes or 1, or everything in the memory of the host (see
`sci_memeff.training.moments` and `OptimizerConfig`).

After AlphaFold 2's Supplement, sections 1.11.3 (Adam) and 1.11.7 (averaged weights).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from sci_memeff.training.config import OptimizerConfig
from sci_memeff.training.home import Home
from sci_memeff.training.moments import STEP, States, moments_of
from sci_memeff.training.spikes import Cut, SpikeGuard

__all__ = ["AVERAGE", "HALF", "AdamWithAverage", "norm_of"]

AVERAGE, MASTER = "average", "master"

BUCKET = 1 << 20  # elements that are updated at a time: they stay in a cache, and are few bytes
HALF = (torch.bfloat16, torch.float16)


class AdamWithAverage(torch.optim.Optimizer):
    """Adam over the parameters of `model` that need a gradient, and their moving averages.

    An update goes through the parameters in buckets of about a million elements: Adam by the
    moments that `config.kind` names, torch's fused one for "adam", then the average,
    w' = decay · w' + (1 − decay) · w, then the gradients are let go. With moments as they are it
    makes nothing of a parameter's size, but for parameters in bf16 or fp16 float32 copies of one
    bucket's gradients. Such parameters are roundings of float32 ones, which are kept here as
    `master`; averages are float32 too. A master starts as the parameter is at its first gradient,
    and from then on what is written to the parameter itself is overwritten.

    `state[parameter]` is empty before the parameter's first gradient, and its average is then the
    parameter itself. Afterwards it holds `step`, `exp_avg` and `exp_avg_sq`, for "adam" as torch's
    Adam has them, `average`, and `master` where there is one. All are tensors.

    With `config.release_gradients`, every parameter is updated inside the backward pass, once,
    when its gradient is whole; `step` then does what is left. Not for data parallelism, which
    means gradients after that. With `config.spikes.ratio`, gradients are cut before Adam sees them.
    """

    def __init__(self, model: nn.Module, config: OptimizerConfig) -> None:
        self.moments = moments_of(config)
        self.home = Home(on_host=config.kind == "offloaded")
        defaults = {
            "lr": config.learning_rate,
            "betas": (config.beta1, config.beta2),
            "eps": config.eps,
            "ema_decay": config.ema_decay,
            "fused": True,  # tells torch where `step` belongs when states are loaded
        }
        names = {p: name for name, p in model.named_parameters() if p.requires_grad}
        super().__init__(self.moments.groups(list(names)), defaults)
        self._group_of = {p: group for group in self.param_groups for p in group["params"]}
        self._guard: SpikeGuard | None = None
        if config.spikes.ratio is not None:
            self._guard = SpikeGuard(names, config.spikes.ratio, config.beta2)
        self._in_backward: set[nn.Parameter] = set()  # updated there, since the last `step`
        self._squares: dict[torch.device, Tensor] = {}
        if config.release_gradients:
            for p in names:
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

    def cut(self) -> Cut | None:
        """What the guard against spikes has cut since it was asked; None if nothing."""
        return None if self._guard is None else self._guard.told()

    @torch.no_grad()
    def reset_moments(self) -> None:
        """Have all moments begin anew; averages and weights stay."""
        for state in self.state.values():
            for name, value in state.items():
                if name not in (AVERAGE, MASTER):
                    value.zero_()

    def average(self, parameter: nn.Parameter) -> Tensor:
        """The averaged weights that belong to `parameter`, where they are kept; not a copy."""
        return self.state[parameter][AVERAGE] if parameter in self.state else parameter.detach()

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the parameters hold their averages: for evaluation, never for an update.

        Tensors change places, so it costs no bytes; of parameters in half precision, and of those
        whose averages are on the host, one copy.
        """
        own = [(p, p.data) for p in self._group_of]
        try:
            for p, _ in own:
                p.data = self.average(p).to(p)
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
        self._group_of = {p: group for group in self.param_groups for p in group["params"]}
        for number, p in zip(numbers, parameters, strict=True):
            if number in state_dict["state"]:  # where torch would round to the parameter's type
                self.state[p] = self._laid_out_as(p, state_dict["state"][number])

    def states_of(self, p: nn.Parameter) -> States:
        """What `state` holds of a parameter after its first gradient; shapes and types alone."""
        weight = torch.empty_like(p, device="meta", requires_grad=False)
        return self._begun(weight, self._group_of[p])

    @torch.no_grad()
    def _release(self, p: nn.Parameter) -> None:
        """Update one parameter inside the backward pass, unless a gradient was not finite so far.

        Whether it was stays on the device: to ask would hold up the backward pass.
        """
        assert p.grad is not None
        square = self._squares.get(p.device, 0) + norm_of(p.grad).square()
        self._squares[p.device] = square
        self._in_backward.add(p)
        self._update([p], self._group_of[p], refused=(~square.isfinite()).float())

    def _update(
        self,
        parameters: Sequence[nn.Parameter],
        group: Mapping[str, Any],
        refused: Tensor | None = None,
    ) -> None:
        """The whole update of one bucket; where `refused` is 1, of the averages alone."""
        given = [p for p in parameters if p.grad is not None]
        states = {p: self._state_of(p) for p in given}
        states |= {p: self.state[p] for p in parameters if p.grad is None and p in self.state}
        if not states:
            return
        weights = {p: self._weight(p, state) for p, state in states.items()}
        if given:
            self._adam({p: (weights[p], states[p]) for p in given}, group, refused)
        averages = [state[AVERAGE] for state in states.values()]
        follow = get_ema_multi_avg_fn(group["ema_decay"])
        follow(averages, list(weights.values()), 0)  # counts nothing

    def _adam(
        self,
        given: Mapping[nn.Parameter, tuple[Tensor, States]],
        group: Mapping[str, Any],
        refused: Tensor | None,
    ) -> None:
        """Adam's step for parameters that have a gradient, which is let go."""
        weights = [weight for weight, _ in given.values()]
        states = [state for _, state in given.values()]
        gradients = [self._gradient_for(weight, p) for p, (weight, _) in given.items()]
        if self._guard is not None:
            for p, gradient, weight, state in zip(given, gradients, weights, states, strict=True):
                self._guard.cut(p, gradient, self.moments.second(state, weight), state[STEP])
        if refused is not None:
            refused = refused.to(weights[0].device)
        self.moments.update(weights, gradients, states, group, refused)
        for p, weight in zip(given, weights, strict=True):
            if weight is not p:
                p.copy_(weight)
            p.grad = None

    def _weight(self, p: nn.Parameter, state: States) -> Tensor:
        """What is updated: the master, or the parameter where its states are."""
        return state[MASTER] if MASTER in state else self.home.brought(p)

    def _gradient_for(self, weight: Tensor, p: nn.Parameter) -> Tensor:
        """The gradient in the type and the layout of `weight`, and where it is.

        The fused kernel pairs elements by their places in memory, whatever the strides say.
        """
        assert p.grad is not None
        gradient = self.home.brought(p.grad)
        if gradient.dtype == weight.dtype and gradient.stride() == weight.stride():
            return gradient
        return torch.empty_like(weight).copy_(gradient)

    def _state_of(self, p: nn.Parameter) -> States:
        """The parameter's states, made at its first gradient, from weights not yet updated."""
        state = self.state[p]
        if not state:
            found = self._begun(self.home.brought(p.detach()), self._group_of[p])
            state = self.state[p] = found
        elif state[AVERAGE].stride() != p.stride():
            state = self.state[p] = self._laid_out_as(p, state)
        return state

    def _begun(self, weight: Tensor, group: Mapping[str, Any]) -> States:
        """The states of a weight that has not been updated."""
        state = {}
        if weight.dtype in HALF:
            state[MASTER] = weight = weight.float()
        return state | self.moments.begun(weight, group) | {AVERAGE: weight.clone()}

    def _laid_out_as(self, p: nn.Parameter, state: Mapping[str, Tensor]) -> States:
        """Copies of the states where they are kept; those of the parameter's shape as it lies."""
        device = self.home.of(p)
        return {
            key: torch.empty_like(
                p if value.shape == p.shape else value, dtype=value.dtype, device=device
            )
            .detach()
            .copy_(value)
            for key, value in state.items()
        }


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
