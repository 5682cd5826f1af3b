import torch

from sci_memeff.alphafold.geometry import atom14_to_atom37, pseudo_beta
from sci_memeff.chemistry import (
    ATOM14_MASK,
    ATOM37,
    ATOM37_INDEX,
    ATOM37_MASK,
    RESTYPE_ATOM14,
    RESTYPE_INDEX,
)

EVERY = torch.arange(21).repeat(2, 1)


def numbered() -> torch.Tensor:
    """Atoms that can be told apart: (2, 21, 14, 3)."""
    return torch.arange(2 * 21 * 14 * 3, dtype=torch.float64).reshape(2, 21, 14, 3) + 1


def test_every_atom_finds_its_column() -> None:
    atom14 = numbered()
    atom37 = atom14_to_atom37(atom14, EVERY)
    assert atom37.shape == (2, 21, 37, 3)
    for restype in range(21):
        for column, name in enumerate(ATOM37):
            if name in RESTYPE_ATOM14[restype]:
                place = RESTYPE_ATOM14[restype].index(name)
                assert torch.equal(atom37[:, restype, column], atom14[:, restype, place])
            else:
                assert not atom37[:, restype, column].any()


def test_masks_and_single_residues_spread_too() -> None:
    mask = torch.tensor(ATOM14_MASK)
    assert torch.equal(atom14_to_atom37(mask, EVERY[0]), torch.tensor(ATOM37_MASK))
    one = atom14_to_atom37(numbered()[0, 4], EVERY[0, 4])
    assert torch.equal(one, atom14_to_atom37(numbered(), EVERY)[0, 4])


def test_gradient_reaches_existing_atoms_only() -> None:
    atom14 = numbered().requires_grad_()
    atom14_to_atom37(atom14, EVERY).sum().backward()
    expected = torch.tensor(ATOM14_MASK).double()[None, :, :, None].expand(2, 21, 14, 3)
    assert torch.equal(atom14.grad, expected)


def test_pseudo_beta_is_cb_except_for_glycine() -> None:
    atom37 = torch.randn(2, 21, 37, 3, generator=torch.Generator().manual_seed(0))
    beta = pseudo_beta(EVERY, atom37)
    for restype in range(21):
        name = "CA" if restype == RESTYPE_INDEX["G"] else "CB"
        assert torch.equal(beta[:, restype], atom37[:, restype, ATOM37_INDEX[name]])
