import math

import torch

from sci_memeff.alphafold.losses import TorsionLoss
from sci_memeff.chemistry import CHI_MASK, CHI_PI_PERIODIC

from .structures import random_mask, sequence


def sin_cos(angles: torch.Tensor) -> torch.Tensor:
    return torch.stack([angles.sin(), angles.cos()], dim=-1)


def torsions(letters: str, *lead: int) -> dict[str, torch.Tensor]:
    aatype = sequence(letters)
    n = len(aatype)
    true_chi = sin_cos(2 * math.pi * torch.rand(n, 4, dtype=torch.float64))
    chi_mask = torch.tensor(CHI_MASK).double()[aatype] * random_mask(n, 4, like=true_chi)
    return {
        "angles": sin_cos(2 * math.pi * torch.rand(*lead, n, 7, dtype=torch.float64)),
        "raw_angles": torch.randn(*lead, n, 7, 2, dtype=torch.float64),
        "true_chi": true_chi,
        "chi_mask": chi_mask,
        "aatype": aatype,
        "seq_mask": random_mask(n, like=true_chi),
    }


def test_equals_a_loop_over_angles():
    torch.manual_seed(0)
    given = torsions("ARNDFYEPK", 3)
    chi = norm = 0.0
    for t in range(3):
        for i, k in given["chi_mask"].nonzero().tolist():
            predicted, true = given["angles"][t, i, 3 + k], given["true_chi"][i, k]
            error = float((predicted - true).square().sum())
            if CHI_PI_PERIODIC[given["aatype"][i], k]:
                error = min(error, float((predicted + true).square().sum()))
            chi += error
        for i in given["seq_mask"].nonzero().flatten().tolist():
            norm += sum(abs(float(given["raw_angles"][t, i, k].norm()) - 1) for k in range(7))
    chi /= 3 * float(given["chi_mask"].sum())
    norm /= 3 * 7 * float(given["seq_mask"].sum())
    loss = TorsionLoss(0.5, 0.01)(**given)
    torch.testing.assert_close(float(loss), 0.5 * chi + 0.01 * norm, rtol=1e-5, atol=0.0)


def test_the_truth_costs_nothing_nor_does_a_symmetric_groups_half_turn():
    given = torsions("DEFY", 2)
    angles = given["angles"].clone()
    angles[..., 3:, :] = given["true_chi"]
    periodic = torch.tensor(CHI_PI_PERIODIC)[given["aatype"]] > 0
    assert periodic.sum() == 4
    turned = angles.clone()
    turned[:, :, 3:][:, periodic] *= -1
    for predicted in (angles, turned):
        assert TorsionLoss()(**given | {"angles": predicted, "raw_angles": predicted}) < 1e-9
    wrong = angles.clone()
    wrong[:, :, 3:][:, ~periodic] *= -1
    given["chi_mask"] = torch.ones(4, 4).double()
    assert TorsionLoss()(**given | {"angles": wrong, "raw_angles": wrong}) > 1.0


def test_samples_have_their_own_periodicities():
    torch.manual_seed(2)
    one, other = torsions("DEFY", 3), torsions("RKMQ", 3)
    iterated = ("angles", "raw_angles")
    both = {k: torch.stack([one[k], other[k]], dim=1 if k in iterated else 0) for k in one}
    loss = TorsionLoss()
    torch.testing.assert_close(loss(**both), torch.stack([loss(**one), loss(**other)]))
