"""What an update needs beside its states: the schedule, and each sample's clipped gradient.

After AlphaFold 2's Supplement, section 1.11.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from sci_memeff.training.config import OptimizerConfig
from sci_memeff.training.spikes import rewarmed
from sci_memeff.training.states import HALF, norm_of

__all__ = ["ClippedMean", "learning_rate", "set_learning_rate"]


def learning_rate(config: OptimizerConfig, samples: int) -> float:
    """The rate of the update that ends with sample number `samples`, counted from 1.

    Linear warm-up, then constant, then `decay_factor` once (Supplement, section 1.11.3); after a
    reset of the moments, from zero again.
    """
    warm = 1.0 if config.warmup_samples == 0 else min(1.0, samples / config.warmup_samples)
    late = config.decay_factor if samples > config.decay_after_samples else 1.0
    again = rewarmed(config.spikes, (samples - 1) // config.batch_size)
    return config.learning_rate * warm * late * again


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Use `rate` in the next update of every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = rate


class ClippedMean:
    """The mean over a batch of gradients that were each clipped by their global norm, if at all.

    Clipping every sample, not the batch, keeps one bad example from setting the direction of the
    update. From the second sample on, a sum is alive beside the gradient: in the parameter's type,
    in float32 for parameters in half precision.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], clip_norm: float | None) -> None:
        self.parameters = [p for p in parameters if p.requires_grad]
        self.clip_norm = clip_norm
        self.count = 0
        self._sums: list[Tensor | None] = [None] * len(self.parameters)

    def take(self) -> float:
        """Clip the gradients now in `.grad`, add them up, and clear them; their norm before.

        A norm that is not finite is returned and the gradients are dropped.
        """
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = float(nn.utils.get_total_norm([_exact(gradient) for gradient in gradients]))
        is_finite = norm < float("inf")  # False for NaN as well
        if is_finite and self.clip_norm is not None and norm > self.clip_norm:
            _scale(gradients, self.clip_norm / norm)
        del gradients  # so that each is freed as soon as it is added
        for k, p in enumerate(self.parameters):
            if is_finite:
                self._sums[k] = _plus(self._sums[k], p.grad)
            p.grad = None
        self.count += is_finite
        return norm

    def put(self) -> None:
        """Hand the mean over the samples taken to `.grad`, where the optimizer uses it up."""
        for k, p in enumerate(self.parameters):
            total, self._sums[k] = self._sums[k], None
            p.grad = None if total is None else total.div_(self.count).to(p.dtype)


def _exact(gradient: Tensor) -> Tensor:
    """Something of the gradient's norm: torch rounds that of half precision to half precision."""
    return norm_of(gradient) if gradient.dtype in HALF else gradient


def _scale(gradients: Sequence[Tensor], factor: float) -> None:
    for gradient in gradients:
        gradient.mul_(factor)


def _plus(total: Tensor | None, gradient: Tensor | None) -> Tensor | None:
    if total is None or gradient is None:
        return gradient if total is None else total
    if total.dtype in HALF:
        total = total.float()  # at the second sample
    return total.add_(gradient)
