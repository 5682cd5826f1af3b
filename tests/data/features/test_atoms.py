import numpy as np
import pytest

from sci_memeff.chemistry import ATOM37_INDEX, RESTYPE_ATOM14, RESTYPE_INDEX, RESTYPES
from sci_memeff.data.features.atoms import atom14_positions, atom_layout, pseudo_beta


@pytest.fixture
def residues():
    rng = np.random.default_rng(0)
    aatype = np.arange(21)
    mask = (rng.random((21, 37)) < 0.8).astype(np.float32)
    assert set(np.unique(mask)) == {0.0, 1.0}
    positions = rng.normal(size=(21, 37, 3)).astype(np.float32) * mask[..., None]
    return aatype, positions, mask


def test_layouts_lead_to_each_other():
    aatype = np.arange(21)
    layout = atom_layout(aatype)
    for restype in range(21):
        for column in range(14):
            if layout["atom14_atom_exists"][restype, column]:
                there = layout["residx_atom14_to_atom37"][restype, column]
                assert layout["atom37_atom_exists"][restype, there]
                assert layout["residx_atom37_to_atom14"][restype, there] == column
    sums = (layout["atom14_atom_exists"].sum(1), layout["atom37_atom_exists"].sum(1))
    assert np.array_equal(*sums)
    assert sums[0][20] == 0


def test_atoms_are_packed_by_name(residues):
    aatype, positions, mask = residues
    packed = atom14_positions(aatype, positions, mask)
    for restype in range(21):
        for column, name in enumerate(RESTYPE_ATOM14[restype]):
            there = ATOM37_INDEX[name] if name else 0
            known = mask[restype, there] if name else 0.0
            assert packed["atom14_gt_exists"][restype, column] == known
            expected = positions[restype, there] * known
            assert np.array_equal(packed["atom14_gt_positions"][restype, column], expected)


def test_the_other_naming_swaps_what_looks_the_same(residues):
    packed = atom14_positions(*residues)
    swapped = {"D": "OD1 OD2", "E": "OE1 OE2", "F": "CD1 CD2 CE1 CE2", "Y": "CD1 CD2 CE1 CE2"}
    for letter in RESTYPES:
        restype = RESTYPE_INDEX[letter]
        names = list(RESTYPE_ATOM14[restype])
        ambiguous = swapped.get(letter, "").split()
        expected = [float(name in ambiguous and name != "") for name in names]
        assert packed["atom14_atom_is_ambiguous"][restype].tolist() == expected
        for kind in ("positions", "exists"):
            truth = packed[f"atom14_gt_{kind}"][restype]
            other = packed[f"atom14_alt_gt_{kind}"][restype].copy()
            for one, two in zip(ambiguous[::2], ambiguous[1::2], strict=True):
                pair = [names.index(one), names.index(two)]
                assert np.array_equal(other[pair], truth[pair[::-1]])
                other[pair] = other[pair[::-1]]
            assert np.array_equal(other, truth)


def test_pseudo_beta_is_alpha_for_glycine(residues):
    aatype, positions, mask = residues
    where, known = pseudo_beta(aatype, positions, mask)
    for restype in range(21):
        atom = ATOM37_INDEX["CA" if restype == RESTYPE_INDEX["G"] else "CB"]
        assert np.array_equal(where[restype], positions[restype, atom])
        assert known[restype] == mask[restype, atom]
    stacked = pseudo_beta(aatype[None], positions[None], mask[None])
    assert np.array_equal(stacked[0][0], where)
