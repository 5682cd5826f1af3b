import math
from typing import Any

import numpy as np
import pytest

from sci_memeff.chemistry import stereochemistry as s
from sci_memeff.chemistry.atoms import ATOM14_MASK, RESTYPE_ATOM14
from sci_memeff.chemistry.bond_angles import Angle
from sci_memeff.chemistry.bond_lengths import Bond
from sci_memeff.chemistry.residues import RESTYPE_INDEX, UNKNOWN


def test_opposite_side_of_a_right_angle() -> None:
    bonds = (Bond("A", "B", 3.0, 0.1), Bond("C", "B", 4.0, 0.2))
    side = s.opposite_side(Angle("A", "B", "C", math.pi / 2, 0.0), bonds)
    assert (side.first, side.second) == ("A", "C")
    assert side.length == pytest.approx(5.0)
    assert side.stddev == pytest.approx(math.hypot(0.6 * 0.1, 0.8 * 0.2))
    turned = s.opposite_side(Angle("A", "B", "C", math.pi / 2, 0.01), (bonds[1], bonds[0]))
    assert turned.stddev == pytest.approx(math.hypot(0.06, 0.16, 12 / 5 * 0.01))


def test_bounds_are_symmetric_and_empty_where_no_atom_is() -> None:
    bounds = s.atom14_distance_bounds(1.5, 12.0)
    pairs = ATOM14_MASK[:, :, None] * ATOM14_MASK[:, None, :] * (1 - np.eye(14))
    assert set(np.unique(pairs)) == {0.0, 1.0}
    for table in bounds:
        assert table.shape == (21, 14, 14)
        assert table.dtype == np.float32
        np.testing.assert_array_equal(table, table.swapaxes(-1, -2))
        assert not table[pairs == 0].any()
    lower, upper, stddev = bounds
    assert (lower < upper)[pairs == 1].all()
    assert (lower > 0)[pairs == 1].all()
    assert not stddev[UNKNOWN].any()


def test_bounds_of_one_bond_one_angle_and_one_contact() -> None:
    lower, upper, stddev = s.atom14_distance_bounds(1.5, 10.0)
    restype = RESTYPE_INDEX["C"]
    n, ca, c, sg = (RESTYPE_ATOM14[restype].index(name) for name in ("N", "CA", "C", "SG"))
    assert lower[restype, n, ca] == pytest.approx(1.459 - 0.2)
    assert upper[restype, n, ca] == pytest.approx(1.459 + 0.2)
    assert stddev[restype, n, ca] == pytest.approx(0.02)
    across = (lower[restype, n, c] + upper[restype, n, c]) / 2
    cosine = math.cos(math.radians(111.0))
    assert across == pytest.approx(math.sqrt(1.459**2 + 1.525**2 - 2 * 1.459 * 1.525 * cosine))
    assert lower[restype, n, sg] == pytest.approx(1.55 + 1.8 - 1.5)
    assert upper[restype, n, sg] == np.float32(s.NO_UPPER_BOUND)
    assert stddev[restype, n, sg] == 0


def test_agrees_with_the_published_numbers(published: dict[str, Any]) -> None:
    assert published["van_der_waals_radius"] == s.VAN_DER_WAALS
    lengths = [s.C_N_LENGTH, s.C_N_LENGTH_BEFORE_PROLINE]
    spreads = [s.C_N_LENGTH_STDDEV, s.C_N_LENGTH_STDDEV_BEFORE_PROLINE]
    assert published["between_res_bond_length_c_n"] == lengths
    assert published["between_res_bond_length_stddev_c_n"] == spreads
    for key, pair in {
        "between_res_cos_angles_c_n_ca": [s.C_N_CA_COSINE, s.C_N_CA_COSINE_STDDEV],
        "between_res_cos_angles_ca_c_n": [s.CA_C_N_COSINE, s.CA_C_N_COSINE_STDDEV],
    }.items():
        assert published[key] == pair
