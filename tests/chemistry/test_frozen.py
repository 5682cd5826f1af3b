import numpy as np
import pytest

from sci_memeff import chemistry
from sci_memeff.chemistry.frozen import frozen


def test_refuses_writes() -> None:
    table = frozen([[1, 2], [3, 4]], np.float32)
    assert table.dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        table[0, 0] = 5
    table[np.array([0, 1])][0, 0] = 5  # an indexed copy is the caller's own


def test_every_table_of_the_package_is_frozen_and_finite() -> None:
    arrays = [value for name, value in vars(chemistry).items() if isinstance(value, np.ndarray)]
    assert len(arrays) == 16
    for array in arrays:
        assert not array.flags.writeable
        assert array.dtype in (np.float32, np.int64, np.uint8)
        assert np.isfinite(array).all()
