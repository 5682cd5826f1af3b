import torch

from sci_memeff.alphafold.losses import PlddtLoss

from .structures import random_mask


def lddt(i: int, ca: torch.Tensor, true_ca: torch.Tensor, mask: torch.Tensor) -> float:
    kept = scored = 0.0
    for j in range(len(ca)):
        true_distance = float((true_ca[i] - true_ca[j]).norm())
        if i != j and mask[i] and mask[j] and true_distance < 15.0:
            change = abs(float((ca[i] - ca[j]).norm()) - true_distance)
            kept += sum(change < threshold for threshold in (0.5, 1.0, 2.0, 4.0)) / 4
            scored += 1
    return kept / scored if scored else 1.0


def test_equals_a_loop_over_residues():
    torch.manual_seed(0)
    n = 11
    true_ca = 7 * torch.randn(n, 3, dtype=torch.float64)
    ca = true_ca + torch.randn(n, 3, dtype=torch.float64)
    mask = random_mask(n, like=ca)
    logits = torch.randn(n, 50, dtype=torch.float64)
    scores = [lddt(i, ca, true_ca, mask) for i in range(n)]
    assert 0.1 < min(scores) < max(scores) < 1.0 or len(set(scores)) > 4
    total = -sum(
        float(logits[i].log_softmax(-1)[min(int(scores[i] * 50 + 1e-9), 49)])
        for i in range(n)
        if mask[i]
    )
    loss = PlddtLoss()(logits, ca, true_ca, mask)
    torch.testing.assert_close(float(loss), total / float(mask.sum()))


def test_a_perfect_prediction_belongs_in_the_last_bin():
    ca = 5 * torch.randn(6, 3)
    logits = torch.full((6, 50), -1e4)
    logits[:, 49] = 0.0
    assert PlddtLoss()(logits, ca, ca, torch.ones(6)) == 0.0


def test_no_gradient_reaches_the_positions():
    ca = torch.randn(6, 3, requires_grad=True)
    logits = torch.randn(6, 50, requires_grad=True)
    PlddtLoss()(logits, ca, torch.randn(6, 3), torch.ones(6)).backward()
    assert ca.grad is None
    assert logits.grad is not None
    assert logits.grad.abs().sum() > 0
