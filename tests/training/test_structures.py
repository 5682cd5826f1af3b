"""Predictions in files read back as they were, with pLDDT as B-factors."""

import json

import numpy as np
import pytest

from sci_memeff.chemistry import ATOM37_MASK, RESTYPE_INDEX
from sci_memeff.data.formats.mmcif import read_mmcif
from sci_memeff.data.formats.pdb import read_pdb
from sci_memeff.training.prediction import Prediction
from sci_memeff.training.structures import write_confidence, write_structures


@pytest.fixture
def prediction() -> Prediction:
    """A crop: residues 11 to 15 of a longer chain."""
    sequence = "MKWGA"
    random = np.random.default_rng(0)
    return Prediction(
        name="1abc_A",
        sequence=sequence,
        residue_index=np.arange(10, 15),
        positions=random.normal(size=(5, 37, 3)).astype(np.float32) * 10,
        mask=ATOM37_MASK[[RESTYPE_INDEX[letter] for letter in sequence]] > 0,
        plddt=np.array([91.5, 80.0, 70.25, 60.0, 33.0], np.float32),
        aligned_error=np.full((5, 5), 1.234567, np.float32),
        ptm=0.51234567,
    )


def test_both_files_hold_the_prediction(tmp_path, prediction):
    mmcif, pdb = write_structures(tmp_path / "new", prediction)
    assert (mmcif.name, pdb.name) == ("1abc_A.cif", "1abc_A.pdb")
    for structure in (read_mmcif(mmcif), read_pdb(pdb)):
        chain = structure.chain("A")
        assert chain.sequence == prediction.sequence
        assert chain.author_numbers == ("11", "12", "13", "14", "15")
        np.testing.assert_array_equal(chain.mask, prediction.mask)
        np.testing.assert_allclose(
            chain.positions[chain.mask], prediction.positions[prediction.mask], atol=1e-3
        )
        np.testing.assert_allclose(chain.b_factors[:, 1], prediction.plddt, atol=1e-2)


def test_confidence_is_plain_json(tmp_path, prediction):
    found = json.loads(write_confidence(tmp_path / "a.json", prediction).read_text())
    assert found["plddt"] == [91.5, 80.0, 70.25, 60.0, 33.0]
    assert found["ptm"] == 0.5123
    assert found["predicted_aligned_error"][2] == [1.23] * 5
