import numpy as np
import torch

from sci_memeff.alphafold.geometry import look_up
from sci_memeff.chemistry import ATOM14_GROUP, ATOM14_POSITIONS


def test_rows_follow_their_residues() -> None:
    aatype = torch.tensor([[3, 20], [0, 3]])
    rows = look_up(ATOM14_POSITIONS, aatype)
    assert rows.shape == (2, 2, 14, 3)
    assert rows.dtype == torch.float32
    np.testing.assert_array_equal(rows.numpy(), ATOM14_POSITIONS[aatype.numpy()])
    assert look_up(ATOM14_GROUP, aatype).dtype == torch.int64


def test_dtype_and_device_are_those_of_the_tensors() -> None:
    aatype = torch.zeros(3, dtype=torch.int64, device="meta")
    like = torch.zeros(1, dtype=torch.float64)
    assert look_up(ATOM14_POSITIONS, torch.tensor([1]), like).dtype == torch.float64
    assert look_up(ATOM14_POSITIONS, aatype).device.type == "meta"


def test_writing_into_a_row_leaves_the_table_alone() -> None:
    before = ATOM14_POSITIONS.copy()
    look_up(ATOM14_POSITIONS, torch.arange(21)).zero_()
    np.testing.assert_array_equal(ATOM14_POSITIONS, before)
