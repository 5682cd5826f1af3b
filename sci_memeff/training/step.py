"""One training step: forward, loss, backward and clipping per sample, then one update.

A step is a function of the weights, the optimizer's state, the seed and the number of its first
sample; nothing else is carried from step to step.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sci_memeff.data.example import Example, Skipped
from sci_memeff.errors import BadDataError, NoLeanerPlanError, PrecisionError
from sci_memeff.measure.peak import peak_bytes
from sci_memeff.precision import watch_ranges
from sci_memeff.training.batch import Batch, last_pass, to_batch
from sci_memeff.training.config import OptimizerConfig
from sci_memeff.training.optimizer import ClippedMean, learning_rate, set_learning_rate
from sci_memeff.training.randomness import sown
from sci_memeff.training.reports import SkippedSample, StepReport
from sci_memeff.training.scores import known_mean, mean_lddt_ca
from sci_memeff.training.setup import ModelAndLoss
from sci_memeff.training.states import AdamWithAverage
from sci_memeff.training.tightening import PlanInForce

__all__ = ["Loss", "Trainer"]

Loss = Callable[[Mapping[str, Tensor], Batch], tuple[Tensor, Mapping[str, Tensor]]]

MAX_SKIPPED_IN_A_ROW = 1_000
DROPOUT = 1  # the stream of random numbers that the model draws from, beside the data's


@dataclass(frozen=True)
class _Passed:
    """What forward and backward of one sample came to; its gradient is in `.grad`."""

    loss: float
    lddt_ca: float
    terms: dict[str, float]


@dataclass(frozen=True)
class _Sample:
    """What one sample of a batch came to."""

    name: str
    loss: float
    lddt_ca: float
    terms: dict[str, float]
    gradient_norm: float
    maker: str = ""
    """Of a NaN: the module that made it, in words."""

    @property
    def problem(self) -> str:
        """Why the sample must not be learnt from; "" if it may."""
        if not math.isfinite(self.loss):
            bad = [name for name, value in self.terms.items() if not math.isfinite(value)]
            terms = f"{self.name}: the loss is {self.loss} (terms not finite: {', '.join(bad)})"
            return f"{terms}, since {self.maker}" if self.maker else terms
        if not math.isfinite(self.gradient_norm):
            return f"{self.name}: the gradient's norm is {self.gradient_norm}"
        return ""


class Trainer:
    """A model, its loss and its optimizer, advanced one update at a time.

    `loss(outputs, features)` returns the scalar to minimise and the terms to report. `step`
    counts updates (skipped ones too), `next_sample` the samples of the stream that are used up.
    `memory` says by which plan both are run, and by which where memory is short; without it, they
    are run as their seams stand.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        config: OptimizerConfig,
        *,
        seed: int,
        device: torch.device,
        memory: PlanInForce | None = None,
    ) -> None:
        self.model = model.to(device)
        self.loss = loss
        self.memory = memory or PlanInForce(ModelAndLoss(model, loss))
        self.config = config
        self.seed = seed
        self.device = device
        self.optimizer = AdamWithAverage(self.model, config)
        self.step = 0
        self.next_sample = 0

    def advance(
        self, stream: Iterator[tuple[int, Example | Skipped]], stop: Callable[[], bool]
    ) -> StepReport | None:
        """Take samples from `stream` (at `next_sample`) for one update, and make it.

        None where `stop` became true between two samples: the step is as if it had not begun. An
        update with a loss or a gradient that is not finite is not made, and the report says so;
        with `release_gradients` it is made in part where a gradient is (see `OptimizerConfig`).
        """
        began = time.perf_counter()
        every = self.config.spikes.reset_every
        was_reset = every > 0 and self.step > 0 and self.step % every == 0
        if was_reset:  # whoever stops before the step is done does it again
            self.optimizer.reset_moments()
        gradients = ClippedMean(self.model.parameters(), self.config.clip_norm)
        rate = learning_rate(self.config, (self.step + 1) * self.config.batch_size)
        set_learning_rate(self.optimizer, rate)  # for updates inside the backward pass too
        done: list[_Sample] = []
        skipped: list[SkippedSample] = []
        next_sample = self.next_sample
        self.model.train()
        while len(done) < self.config.batch_size:
            if stop():
                return None
            example, next_sample = _next_example(stream, skipped)
            done.append(self._learn(example, next_sample - 1, gradients))
        self.step += 1
        self.next_sample = next_sample
        problem = "; ".join(sample.problem for sample in done if sample.problem)
        if not problem:
            gradients.put()
            self.optimizer.step()
        return StepReport(
            step=self.step,
            next_sample=next_sample,
            names=tuple(sample.name for sample in done),
            loss=_mean([sample.loss for sample in done]),
            lddt_ca=known_mean(sample.lddt_ca for sample in done),
            terms={name: _mean([s.terms[name] for s in done]) for name in done[0].terms},
            learning_rate=rate,
            gradient_norm=_mean([sample.gradient_norm for sample in done]),
            updated=not problem,
            skipped=tuple(skipped),
            seconds=time.perf_counter() - began,
            peak_bytes=peak_bytes(self.device),
            problem=problem,
            cut=self.optimizer.cut(),
            was_reset=was_reset,
        )

    def _learn(self, example: Example, sample: int, gradients: ClippedMean) -> _Sample:
        """Forward and backward of one sample; its clipped gradient joins `gradients`.

        Where memory is short, the very same once more under a leaner plan.
        """
        buffers = [buffer.clone() for buffer in self.model.buffers()]

        def attempt() -> _Passed:
            with sown(self.seed, DROPOUT, sample, device=self.device):
                return self._forward_and_backward(to_batch(example, self.device))

        def undo() -> None:
            self._undo(example.name, buffers)

        passed = self.memory.run(attempt, undo)
        told = (example.name, passed.loss, passed.lddt_ca, passed.terms)
        if not math.isfinite(passed.loss):
            return _Sample(*told, math.nan, self._maker(example, sample))
        released = self.config.release_gradients
        return _Sample(*told, self.optimizer.released_norm() if released else gradients.take())

    def _maker(self, example: Example, sample: int) -> str:
        """The module that makes the sample's NaN, found by computing it once more; "" if none."""
        try:
            with (
                torch.no_grad(),
                sown(self.seed, DROPOUT, sample, device=self.device),
                watch_ranges(self.model),
            ):
                self.model(to_batch(example, self.device))
        except PrecisionError as error:
            return error.wrong
        return ""

    def _forward_and_backward(self, batch: Batch) -> _Passed:
        features = last_pass(batch)
        outputs = self.model(batch)
        loss, terms = self.loss(outputs, features)
        lddt_ca = mean_lddt_ca(outputs, features)
        del outputs  # the backward pass needs few of them
        if math.isfinite(loss.item()):
            loss.backward()
        known = {name: float(term.detach()) for name, term in terms.items()}
        return _Passed(loss.item(), lddt_ca, known)

    def _undo(self, name: str, buffers: Sequence[Tensor]) -> None:
        """Have everything be as before an unfinished sample."""
        if self.optimizer.has_released:
            raise NoLeanerPlanError(
                f"{name}: memory was short when some parameters had been updated already, in the "
                "backward pass",
                mend="go on with --resume: from the last checkpoint, under the leaner plan that is "
                "saved; or leave out optimizer.release_gradients",
            )
        for parameter in self.model.parameters():
            parameter.grad = None
        with torch.no_grad():
            for buffer, before in zip(self.model.buffers(), buffers, strict=True):
                buffer.copy_(before)


def _next_example(
    stream: Iterator[tuple[int, Example | Skipped]], skipped: list[SkippedSample]
) -> tuple[Example, int]:
    """The next usable example and the number of the sample after it."""
    for _ in range(MAX_SKIPPED_IN_A_ROW):
        k, item = next(stream)
        if isinstance(item, Example):
            return item, k + 1
        skipped.append(SkippedSample(sample=k, name=item.name, reason=item.reason))
    last = skipped[-1]
    raise BadDataError(
        f"{MAX_SKIPPED_IN_A_ROW} samples in a row could not be used; the last: {last.reason}",
        source=last.name,
        mend="run `sci-memeff data check DIR` to see what is wrong with each entry",
    )


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
