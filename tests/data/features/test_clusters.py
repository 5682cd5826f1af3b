import numpy as np
import pytest

from sci_memeff.data.features.clusters import nearest_centres, summarise_clusters


@pytest.fixture
def rows():
    rng = np.random.default_rng(1)
    centres = rng.integers(0, 23, (5, 17)).astype(np.uint8)
    others = rng.integers(0, 22, (31, 17)).astype(np.uint8)
    others[3] = centres[2]
    others[4, :] = 21  # a row of gaps agrees with nobody
    assert (others == 21).any()
    assert (centres == 22).any()
    return centres, others


def test_nearest_centre_by_loops(rows):
    centres, others = rows
    nearest = nearest_centres(centres, others)
    for row, other in enumerate(others):
        agreement = [
            sum(int(a == b and a <= 20) for a, b in zip(centre, other, strict=True))
            for centre in centres
        ]
        assert nearest[row] == agreement.index(max(agreement))  # the first of equals
    assert nearest[4] == 0


def test_gaps_and_masks_are_no_agreement():
    centres = np.array([[21, 21, 21, 5], [21, 21, 3, 3]], np.uint8)
    assert nearest_centres(centres, np.array([[21, 21, 21, 3]], np.uint8))[0] == 1


def test_summary_by_loops(rows):
    centres, others = rows
    rng = np.random.default_rng(2)
    deletions = rng.integers(0, 4, centres.shape).astype(np.int32)
    other_deletions = rng.integers(0, 4, others.shape).astype(np.int32)
    nearest = nearest_centres(centres, others)
    summary = summarise_clusters(centres, others, deletions, other_deletions, nearest)
    for cluster in range(len(centres)):
        members = [centres[cluster], *others[nearest == cluster]]
        member_deletions = [deletions[cluster], *other_deletions[nearest == cluster]]
        for column in range(17):
            letters = [member[column] for member in members]
            for token in range(23):
                frequency = letters.count(token) / len(letters)
                assert summary.profile[cluster, column, token] == pytest.approx(frequency)
            mean = np.mean([row[column] for row in member_deletions])
            assert summary.deletion_mean[cluster, column] == pytest.approx(mean)
    assert summary.profile.sum(-1) == pytest.approx(1.0)


def test_clusters_of_centres_alone(rows):
    centres, others = rows
    deletions = np.full(centres.shape, 2, np.int32)
    nearest = nearest_centres(centres, others[:0])
    summary = summarise_clusters(centres, others[:0], deletions, deletions[:0], nearest)
    assert np.array_equal(summary.profile, np.eye(23, dtype=np.float32)[centres])
    assert (summary.deletion_mean == 2.0).all()
