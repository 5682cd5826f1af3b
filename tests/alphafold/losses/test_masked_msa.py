import torch

from sci_memeff.alphafold.losses import MaskedMsaLoss

from .structures import random_mask


def test_equals_a_loop_over_hidden_letters():
    torch.manual_seed(0)
    logits, msa = torch.randn(4, 6, 23, dtype=torch.float64), torch.randint(23, (4, 6))
    hidden = random_mask(4, 6, like=logits)
    places = hidden.nonzero().tolist()
    total = -sum(float(logits[s, i].log_softmax(-1)[msa[s, i]]) for s, i in places)
    loss = MaskedMsaLoss()(logits, msa, hidden)
    torch.testing.assert_close(float(loss), total / len(places))


def test_letters_in_sight_do_not_count():
    torch.manual_seed(1)
    logits, msa = torch.randn(4, 6, 23, dtype=torch.float64), torch.randint(23, (4, 6))
    hidden = random_mask(4, 6, like=logits)
    changed = torch.where(hidden[..., None] > 0, logits, torch.randn_like(logits))
    loss = MaskedMsaLoss()
    assert loss(logits, msa, hidden) == loss(changed, msa, hidden)


def test_nothing_hidden_gives_zero():
    logits, msa = torch.randn(4, 6, 23), torch.randint(23, (4, 6))
    assert MaskedMsaLoss()(logits, msa, torch.zeros(4, 6)) == 0.0
