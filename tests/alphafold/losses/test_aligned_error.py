import torch

from sci_memeff.alphafold.losses import AlignedErrorLoss

from .structures import example, ideal_backbone, sequence


def test_equals_a_loop_over_pairs():
    out, batch = example("AGKPDEFY", seed=0)
    frames, truth = out["sm"]["frames"][-1].detach(), batch["backbone_rigid_tensor"]
    mask, logits = batch["backbone_rigid_mask"], out["tm_logits"].detach()
    total, count = 0.0, 0
    for i in range(len(mask)):
        for j in range(len(mask)):
            if mask[i] and mask[j]:
                seen = torch.linalg.solve(frames[i], frames[j, :, 3])[:3]
                true_seen = torch.linalg.solve(truth[i], truth[j, :, 3])[:3]
                error = 0.0 if i == j else float((seen - true_seen).norm())
                total -= float(logits[i, j].log_softmax(-1)[sum(error > k / 2 for k in range(63))])
                count += 1
    loss = AlignedErrorLoss()(logits, frames, truth, mask)
    torch.testing.assert_close(float(loss), total / count)


def test_a_moved_truth_has_no_error():
    truth = ideal_backbone(sequence("AGKPDEFY")).to_matrix4()
    motion = ideal_backbone(sequence("GGG"))[-1].to_matrix4()
    logits = torch.full((8, 8, 64), -1e4, dtype=torch.float64)
    logits[..., :2] = 0.0  # error up to 0.5 Å, rounding included
    loss = AlignedErrorLoss()(logits, motion @ truth, truth, torch.ones(8).double())
    torch.testing.assert_close(loss, torch.tensor(2.0).double().log())


def test_no_gradient_reaches_the_frames():
    out, batch = example("AGKPD", seed=0)
    frames, truth = out["sm"]["frames"], batch["backbone_rigid_tensor"]
    loss = AlignedErrorLoss()(out["tm_logits"], frames[-1], truth, batch["backbone_rigid_mask"])
    loss.backward()
    assert frames.grad is None
    assert out["tm_logits"].grad.abs().sum() > 0
