import numpy as np
import pytest

from sci_memeff.data.features.rows import delete_blocks, sample_rows, split_rows


@pytest.mark.parametrize("num_rows", [1, 2, 3, 4, 10, 101])
def test_block_deletion_keeps_the_query_and_removes_whole_blocks(num_rows):
    for seed in range(20):
        kept = delete_blocks(num_rows, 5, 0.3, np.random.default_rng(seed))
        assert kept[0] == 0
        assert (np.diff(kept) > 0).all()
        gone = np.setdiff1d(np.arange(num_rows), kept)
        size = int(0.3 * num_rows)
        assert len(gone) <= min(5 * size, num_rows - 1)
        # Every gap is a union of blocks of `size`, but for those that run over the end.
        for run in np.split(gone, np.flatnonzero(np.diff(gone) > 1) + 1):
            assert len(run) == 0 or len(run) >= size or run[-1] == num_rows - 1


def test_one_block_is_as_long_as_it_should_be():
    lengths = [
        100 - len(delete_blocks(100, 1, 0.3, np.random.default_rng(seed))) for seed in range(200)
    ]
    assert max(lengths) == 30
    assert min(lengths) < 30  # some run over the end


def test_block_starts_are_uniform_after_the_query():
    rng = np.random.default_rng(0)
    kept = [delete_blocks(11, 1, 0.1, rng) for _ in range(4000)]  # blocks of one row
    gone = np.array([np.setdiff1d(np.arange(11), rows)[0] for rows in kept])
    counts = np.bincount(gone, minlength=11)
    assert counts[0] == 0
    assert np.abs(counts[1:] - 400).max() < 5 * np.sqrt(400)


def test_no_blocks_delete_nothing():
    assert len(delete_blocks(50, 0, 0.3, np.random.default_rng(0))) == 50
    assert len(delete_blocks(50, 5, 0.0, np.random.default_rng(0))) == 50


def test_samples_start_with_the_query_and_repeat_nothing():
    rows = np.array([0, 5, 7, 9, 11])
    chosen = sample_rows(rows, 3, np.random.default_rng(0))
    assert chosen[0] == 0
    assert len(set(chosen)) == 3
    assert set(chosen) <= set(rows)
    assert sorted(sample_rows(rows, 99, np.random.default_rng(0))) == list(rows)
    assert list(sample_rows(rows[:1], 3, np.random.default_rng(0))) == [0]


def test_centres_and_others_are_all_rows_once():
    rows = np.arange(0, 40, 2)
    seen = np.zeros(20)
    for seed in range(400):
        centres, others = split_rows(rows, 6, np.random.default_rng(seed))
        assert len(centres) == 6
        assert centres[0] == 0
        assert sorted([*centres, *others]) == list(rows)
        seen[centres // 2] += 1
    expected = 400 * 5 / 19
    assert np.abs(seen[1:] - expected).max() < 5 * np.sqrt(expected)
