"""A training step of AlphaFold, as planning and measuring take one: model, step, batch, optimizer.

Nothing is built or read for it: the model is a function that builds it, and features have their
shapes alone, so that a preset of any size can be planned on any computer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from sci_memeff.alphafold.losses import AlphaFoldLoss
from sci_memeff.alphafold.model import AlphaFold
from sci_memeff.data.batch import make_batch
from sci_memeff.data.features.padding import axis_sizes
from sci_memeff.data.features.schema import AXES, CLUSTERS, EXTRA, INTEGERS
from sci_memeff.errors import BadConfigError
from sci_memeff.training.batch import Batch, last_pass
from sci_memeff.training.made_up import made_up_example
from sci_memeff.training.presets import Preset
from sci_memeff.training.states import HALF, AdamWithAverage

__all__ = ["ModelAndLoss", "Setup", "alphafold_setup"]


class ModelAndLoss(nn.Module):
    """A model and its loss as one module, so that one plan has rules for both.

    Modules of the one are "model.evoformer…", those of the other "loss.fape…". `loss` is called
    with the outputs and the features of the last pass and returns the scalar to minimise and its
    terms; it need not be a module.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[Mapping[str, Any], Batch], tuple[Tensor, Mapping[str, Tensor]]],
    ) -> None:
        super().__init__()
        self.model = model
        self.loss = loss

    def forward(self, batch: Batch) -> Tensor:
        """The scalar to minimise, of features (batch, …, passes)."""
        return self.loss(self.model(batch), last_pass(batch))[0]


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What `plan`, `max_crop` and `simulate` are given: `setup.model, setup.step, setup.batch`.

    The step is forward, losses and backward of one sample; `optimizer` goes with it.
    """

    settings: Preset
    dtype: torch.dtype
    """Of weights and activations."""
    passes: int
    """Through the network; all but the last keep nothing."""
    samples: int = 1
    """Of an update: with more than one, their gradients' sum lives beside each gradient."""

    def model(self) -> ModelAndLoss:
        """A new network, in training mode, and its losses; the sum of gradients as its buffers."""
        found = self._network()
        if self.samples > 1:
            for k, p in enumerate(found.parameters()):
                dtype = torch.float32 if p.dtype in HALF else p.dtype  # as ClippedMean adds up
                found.register_buffer(
                    f"sum_{k}", torch.zeros_like(p, dtype=dtype), persistent=False
                )
        return found

    @staticmethod
    def step(model: nn.Module, batch: Batch) -> Tensor:
        """The loss."""
        return model(batch)

    @property
    def batch(self) -> Batch:
        """Features of the settings' sizes, on the meta device."""
        return self.batch_at(self.settings.data.crop_size)

    def batch_at(self, crop: int) -> Batch:
        """Features (1, …, passes) of a protein of `crop` residues, on the meta device.

        Laid out in memory as those of real samples: what is the same in every pass is there once.
        """
        sizes = axis_sizes(replace(self.settings.data, crop_size=crop))
        return {name: _empty(name, sizes, self.passes) for name in AXES}

    def real_model(self, seed: int = 0) -> ModelAndLoss:
        """The network with values for a step that is looked at: random, no layer's weights zero.

        In fresh weights many layers are, and most gradients with them.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            found = self._network()
            with torch.no_grad():
                for p in found.parameters():
                    scale = p.shape[-1] ** -0.5 if p.ndim > 1 else 0.3
                    p.copy_(torch.randn_like(p) * scale + (0 if p.ndim > 1 else p))
        return found

    def real_batch(self, seed: int = 0) -> Batch:
        """Features of the settings' sizes, of a made-up protein."""
        data = replace(self.settings.data, fixed_size=True, max_recycling=self.passes - 1)
        return make_batch([made_up_example(data, seed=seed)])

    def optimizer(self, model: nn.Module) -> AdamWithAverage:
        """Adam and the averaged weights of `model`."""
        return AdamWithAverage(model, self.settings.optimizer)

    def _network(self) -> ModelAndLoss:
        network = AlphaFold(self.settings.model).to(self.dtype).train()
        return ModelAndLoss(network, AlphaFoldLoss(self.settings.loss))


def alphafold_setup(
    settings: Preset,
    *,
    dtype: torch.dtype = torch.float32,
    crop: int | None = None,
    num_evoformer_blocks: int | None = None,
    passes: int | None = None,
) -> Setup:
    """The largest step of a run of `settings`, or one of another size.

    Every sample of the run needs at most the bytes of this one: `settings.data` says how many
    residues, clusters, extra rows, templates and passes one has at the most. BadConfigError for a
    crop, a number of blocks or of passes below 1.
    """
    for name, count in (("crop", crop), ("blocks", num_evoformer_blocks), ("passes", passes)):
        if count is not None and count < 1:
            raise BadConfigError(f"{name} is {count}", mend="give at least 1")
    model, data = settings.model, settings.data
    if num_evoformer_blocks is not None:
        model = replace(model, num_evoformer_blocks=num_evoformer_blocks)
    if crop is not None:
        data = replace(data, crop_size=crop)
    settings = replace(settings, model=model, data=data)
    return Setup(settings=settings, dtype=dtype, passes=passes or data.max_passes)


def _empty(name: str, sizes: Mapping[str, int], passes: int) -> Tensor:
    """A feature of every pass; each pass of what is drawn anew is contiguous, as in the data."""
    axes = AXES[name]
    shape = [axis if isinstance(axis, int) else sizes[axis] for axis in axes]
    dtype = torch.int64 if name in INTEGERS else torch.float32
    if CLUSTERS in axes or EXTRA in axes:
        each = torch.empty(passes, 1, *shape, dtype=dtype, device="meta")
        return each.movedim(0, -1)
    once = torch.empty(1, *shape, 1, dtype=dtype, device="meta")
    return once.expand(1, *shape, passes)
