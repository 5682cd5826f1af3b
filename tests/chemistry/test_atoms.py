from typing import Any

import numpy as np

from sci_memeff.chemistry import atoms as a
from sci_memeff.chemistry.residues import NUM_RESTYPES, THREE_LETTERS, UNKNOWN


def test_layouts_name_the_same_atoms() -> None:
    assert len(a.ATOM37) == len(set(a.ATOM37)) == 37
    assert len(a.RESTYPE_ATOM14) == NUM_RESTYPES
    for restype, names in enumerate(a.RESTYPE_ATOM14):
        assert len(names) == 14
        for column, name in enumerate(names):
            assert a.ATOM14_MASK[restype, column] == (name != "")
            if name:
                column37 = a.ATOM14_TO_ATOM37[restype, column]
                assert a.ATOM37[column37] == name
                assert a.ATOM37_TO_ATOM14[restype, column37] == column


def test_masks_count_the_same_atoms() -> None:
    np.testing.assert_array_equal(a.ATOM14_MASK.sum(-1), a.ATOM37_MASK.sum(-1))
    assert a.ATOM14_MASK.sum(-1).max() == 14  # tryptophan
    assert a.ATOM14_MASK.sum() == 167
    assert not a.ATOM37_MASK[:, a.ATOM37_INDEX["OXT"]].any()


def test_unknown_residue_has_no_atoms() -> None:
    for table in (a.ATOM14_MASK, a.ATOM37_MASK, a.ATOM14_TO_ATOM37, a.ATOM37_TO_ATOM14):
        assert not table[UNKNOWN].any()


def test_agrees_with_the_published_names(published: dict[str, Any]) -> None:
    assert published["atom_types_atom37"] == list(a.ATOM37)
    for restype, three in enumerate((*THREE_LETTERS, "UNK")):
        assert published["residue_atom14_names"][three] == list(a.RESTYPE_ATOM14[restype])
