"""The update: Adam, its schedule, per-sample clipping and averaged weights.

After AlphaFold 2's Supplement, section 1.11.3. The averaged weights are section 1.11.7's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from sci_memeff.training.config import OptimizerConfig

__all__ = ["ClippedMean", "adam", "averaged", "learning_rate", "set_learning_rate"]


def adam(model: nn.Module, config: OptimizerConfig) -> torch.optim.Adam:
    """Adam over every parameter of `model` that needs a gradient.

    Two fp32 tensors per parameter, so 8 bytes each, from the first update on.
    """
    return torch.optim.Adam(
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.eps,
    )


def averaged(model: nn.Module, decay: float) -> AveragedModel:
    """A copy of `model` that follows it as an exponential moving average, in evaluation mode.

    It starts at the initial weights, so the first update already averages (torch's own default
    would copy there). 4 bytes per fp32 parameter.
    """
    copy = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))
    copy.n_averaged.fill_(1)
    copy.requires_grad_(False)
    return copy.eval()


def learning_rate(config: OptimizerConfig, samples: int) -> float:
    """The rate of the update that ends with sample number `samples`, counted from 1.

    Linear warm-up, then constant, then `decay_factor` once (Supplement, section 1.11.3).
    """
    warm = 1.0 if config.warmup_samples == 0 else min(1.0, samples / config.warmup_samples)
    late = config.decay_factor if samples > config.decay_after_samples else 1.0
    return config.learning_rate * warm * late


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Use `rate` in the next update of every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = rate


class ClippedMean:
    """The mean over a batch of gradients that were each clipped by their global norm.

    Clipping every sample, not the batch, keeps one bad example from setting the direction of the
    update. Needs one more tensor per parameter, and only from the second sample on.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], clip_norm: float) -> None:
        self.parameters = [p for p in parameters if p.requires_grad]
        self.clip_norm = clip_norm
        self.count = 0
        self._sums: list[Tensor | None] = [None] * len(self.parameters)

    def take(self) -> float:
        """Clip the gradients now in `.grad`, add them up, and clear them; their norm before.

        A norm that is not finite is returned and the gradients are dropped.
        """
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = float(nn.utils.get_total_norm(gradients))
        if norm < float("inf"):  # False for NaN as well
            if norm > self.clip_norm:
                _scale(gradients, self.clip_norm / norm)
            self._sums = [
                _plus(s, p.grad) for s, p in zip(self._sums, self.parameters, strict=True)
            ]
            self.count += 1
        self._clear()
        return norm

    def put(self) -> None:
        """Leave the mean over the samples taken in `.grad`, ready for the optimizer."""
        for parameter, total in zip(self.parameters, self._sums, strict=True):
            parameter.grad = None if total is None else total.div_(self.count)

    def _clear(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None


def _scale(gradients: Sequence[Tensor], factor: float) -> None:
    for gradient in gradients:
        gradient.mul_(factor)


def _plus(total: Tensor | None, gradient: Tensor | None) -> Tensor | None:
    if total is None or gradient is None:
        return gradient if total is None else total
    return total.add_(gradient)
