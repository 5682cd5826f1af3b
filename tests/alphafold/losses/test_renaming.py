import pytest
import torch

from sci_memeff.alphafold.losses import SymmetricRenaming
from sci_memeff.chemistry import ATOM14_SWAP

from .structures import example, leaf


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_an_independent_implementation(seed):
    utils = pytest.importorskip("openfold3.core.loss.loss_utils")
    out, batch = example("ADEFYGDEFYKDEFYPY", seed=seed)
    positions = out["sm"]["positions"].detach()
    expected = utils.compute_renamed_ground_truth(batch, positions)
    found = SymmetricRenaming()(positions, batch)
    assert torch.equal(found.swapped, expected["alt_naming_is_better"])
    assert torch.equal(found.positions, expected["renamed_atom14_gt_positions"])
    assert torch.equal(found.exists, expected["renamed_atom14_gt_exists"])


def test_takes_the_nearer_naming_residue_by_residue():
    _, batch = example("DEFYKDEFYG", seed=0, complete=True)
    torch.manual_seed(1)
    turned = torch.tensor([1.0, 0, 0, 1, 0, 0, 1, 1, 0, 0]).double()
    either = torch.where(
        turned[:, None, None] > 0, batch["atom14_alt_gt_positions"], batch["atom14_gt_positions"]
    )
    named = SymmetricRenaming()(either + 0.1 * torch.randn_like(either), batch)
    assert torch.equal(named.swapped, turned)
    assert torch.equal(named.positions, either)
    frames = torch.where(
        turned[:, None, None, None] > 0,
        batch["rigidgroups_alt_gt_frames"],
        batch["rigidgroups_gt_frames"],
    )
    assert torch.equal(named.frames, frames)


def test_the_mask_of_a_missing_atom_goes_with_its_name():
    _, batch = example("DK", seed=0, complete=True)
    batch["atom14_gt_exists"] = batch["atom14_gt_exists"].clone()
    batch["atom14_gt_exists"][0, 6] = 0.0  # OD1
    swap = torch.tensor(ATOM14_SWAP)[batch["aatype"]]
    batch["atom14_alt_gt_exists"] = batch["atom14_gt_exists"].gather(1, swap)
    named = SymmetricRenaming()(batch["atom14_alt_gt_positions"], batch)
    assert named.swapped.tolist() == [1.0, 0.0]
    assert named.exists[0, 6:8].tolist() == [1.0, 0.0]


def test_no_gradient_passes():
    _, batch = example("DEFYK", seed=0)
    positions = leaf(batch["atom14_gt_positions"], torch.float64)
    assert not any(part.requires_grad for part in SymmetricRenaming()(positions, batch))
