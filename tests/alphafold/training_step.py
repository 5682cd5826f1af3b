"""The training step of a small network: features, labels, loss, every gradient."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sci_memeff.alphafold.losses import AlphaFoldLoss, LossConfig
from sci_memeff.alphafold.model import AlphaFold

from .losses.structures import sequence, truth
from .networks import SMALL, random_batch, random_mask, redrawn

LETTERS = ("ADFPYEC", "YYKPDEE")


class Step(nn.Module):
    """The network and its loss, every term of it."""

    def __init__(self) -> None:
        super().__init__()
        self.model = redrawn(AlphaFold(SMALL))
        self.loss = AlphaFoldLoss(LossConfig.finetuning().with_ptm())

    def forward(self, batch: dict[str, Tensor], labels: dict[str, Tensor]) -> Tensor:
        out = self.model(batch)
        return self.loss(out, {name: x[..., -1] for name, x in batch.items()} | labels)[0]


def examples() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Features with two passes, and the labels of the last one."""
    torch.manual_seed(0)
    g = torch.Generator().manual_seed(1)
    n = len(LETTERS[0])
    labels = [truth(sequence(letters)) for letters in LETTERS]
    batch = random_batch(len(LETTERS), n, passes=2)
    stacked = {name: torch.stack([each[name] for each in labels]) for name in labels[0]}
    stacked["true_msa"] = torch.randint(23, (len(LETTERS), 4, n), generator=g)
    stacked["bert_mask"] = random_mask(len(LETTERS), 4, n, generator=g)
    for name in ("aatype", "residue_index"):
        batch[name] = stacked[name][..., None].expand(-1, -1, 2)
    return batch, stacked


def loss_and_gradients(step: Step, *, dropout: bool) -> dict[str, Tensor]:
    step.zero_grad()
    step.train(dropout)
    torch.manual_seed(3)
    loss = step(*examples())
    loss.backward()
    found = {name: p.grad for name, p in step.named_parameters()}
    assert [name for name, gradient in found.items() if gradient is None] == []
    return {"loss": loss.detach()} | found


def assert_same(found: dict[str, Tensor], wanted: dict[str, Tensor], tolerance: float) -> None:
    """To `tolerance` of each one's largest magnitude; some are zero but for rounding."""
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        bound = tolerance * value.abs().max() + 1e-14
        assert (found[name] - value).abs().max() <= bound, name
