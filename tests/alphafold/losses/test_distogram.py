import torch

from sci_memeff.alphafold.losses import DistogramLoss

from .structures import random_mask


def test_equals_a_loop_over_pairs():
    torch.manual_seed(0)
    n = 6
    logits = torch.randn(n, n, 64, dtype=torch.float64)
    beta = 8 * torch.randn(n, 3, dtype=torch.float64)
    mask = random_mask(n, like=beta)
    total, count = 0.0, 0
    for i in range(n):
        for j in range(n):
            if mask[i] and mask[j]:
                distance = float((beta[i] - beta[j]).norm())
                right = sum(distance > 2.3125 + 0.3125 * k for k in range(63))
                total -= float(logits[i, j].log_softmax(-1)[right])
                count += 1
    loss = DistogramLoss()(logits, beta, mask)
    torch.testing.assert_close(loss, torch.tensor(total / count, dtype=torch.float64))


def test_is_zero_when_certain_and_right():
    beta = torch.tensor([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0], [30.0, 0.0, 0.0]]).double()
    logits = torch.full((3, 3, 64), -1e4, dtype=torch.float64)
    for i, j, right in [(0, 1, 3), (0, 2, 63), (1, 2, 63)]:
        logits[i, j, right] = logits[j, i, right] = 0.0
    logits[range(3), range(3), 0] = 0.0
    assert DistogramLoss()(logits, beta, torch.ones(3)) == 0.0


def test_no_pair_gives_zero():
    loss = DistogramLoss()(torch.randn(2, 2, 64), torch.randn(2, 3), torch.zeros(2))
    assert loss == 0.0
