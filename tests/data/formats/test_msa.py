import numpy as np
import pytest

from sci_memeff.data.formats.msa import count_deletions, to_rows


def counted_one_by_one(row: str) -> list[int]:
    """Small letters since the last letter that is not small, for each of these."""
    counts, count = [], 0
    for letter in row:
        if letter.islower():
            count += 1
        else:
            counts.append(count)
            count = 0
    return counts


@pytest.mark.parametrize("seed", range(4))
def test_deletions_are_those_counted_one_by_one(seed):
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(7):
        inserts = rng.integers(0, 4, size=6) * rng.integers(0, 2, size=6)
        rows.append("".join("x" * count + "A" for count in inserts[:5]) + "y" * inserts[5])
    codes = np.frombuffer("".join(rows).encode(), np.uint8)
    inserted = (codes == ord("x")) | (codes == ord("y"))
    assert inserted.any()
    assert not inserted.all()
    starts = np.cumsum([0, *map(len, rows[:-1])])
    found = count_deletions(inserted, ~inserted, starts)
    assert found.dtype == np.int32
    assert found.tolist() == [counted_one_by_one(row) for row in rows]


def test_rows_of_letters():
    letters = np.frombuffer(b"ACD-EF", np.uint8).reshape(3, 2)
    assert to_rows(letters) == ("AC", "D-", "EF")
