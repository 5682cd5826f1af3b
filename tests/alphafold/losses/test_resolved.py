import torch

from sci_memeff.alphafold.losses import ExperimentallyResolvedLoss

from .structures import random_mask


def test_equals_a_loop_over_atoms():
    torch.manual_seed(0)
    logits = torch.randn(5, 37, dtype=torch.float64)
    exists = random_mask(5, 37, like=logits)
    resolved = exists * random_mask(5, 37, like=logits)
    total = 0.0
    for i, a in exists.nonzero().tolist():
        p = logits[i, a].sigmoid()
        total -= float((p if resolved[i, a] else 1 - p).log())
    loss = ExperimentallyResolvedLoss()(logits, resolved, exists)
    torch.testing.assert_close(float(loss), total / float(exists.sum()))


def test_is_zero_when_certain_and_right():
    exists = torch.ones(3, 37)
    resolved = random_mask(3, 37, like=exists)
    assert ExperimentallyResolvedLoss()(2e3 * resolved - 1e3, resolved, exists) == 0.0


def test_no_atom_gives_zero():
    logits = torch.randn(3, 37)
    assert ExperimentallyResolvedLoss()(logits, torch.ones(3, 37), torch.zeros(3, 37)) == 0.0
