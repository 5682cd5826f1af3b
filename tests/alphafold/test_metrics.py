from collections.abc import Callable, Iterator

import jaxtyping
import numpy as np
import pytest
import torch
from torch import Tensor

from sci_memeff.alphafold import metrics
from sci_memeff.alphafold.geometry import Rigid, quaternion_to_rotation
from sci_memeff.chemistry import ATOM37_INDEX
from sci_memeff.errors import BadDataError

SCORES = [metrics.lddt, metrics.gdt_ts, metrics.tm_score]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_mask(*shape: int) -> Tensor:
    mask = (random(*shape, seed=7) > -0.8).double()
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    return mask


def chain(*shape: int, seed: int = 0) -> Tensor:
    """A Cα trace: steps of 3.8 Å that rather turn than go straight on."""
    steps = random(*shape, 3, seed=seed)
    steps = steps + 0.5 * steps.roll(1, dims=-2)
    return (3.8 * steps / steps.norm(dim=-1, keepdim=True)).cumsum(-2)


def random_motion(*shape: int) -> Rigid:
    return Rigid(quaternion_to_rotation(random(*shape, 4, seed=3)), 9 * random(*shape, 3, seed=4))


@pytest.fixture
def unchecked_shapes() -> Iterator[None]:
    """As in a run, where nothing checks the shapes in signatures."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.parametrize("score", SCORES)
def test_a_structure_scores_one_against_itself(score: Callable[..., Tensor]) -> None:
    true, mask = chain(2, 3, 30), random_mask(2, 3, 30)
    moved = random_motion(2, 3).unsqueeze(-1).apply(true)
    torch.testing.assert_close(score(true, true, mask), torch.ones(2, 3).double())
    torch.testing.assert_close(score(moved, true, mask), torch.ones(2, 3).double())
    assert metrics.rmsd(moved, true, mask).max() < 1e-10


@pytest.mark.parametrize("score", [*SCORES, metrics.rmsd])
def test_only_known_points_count(score: Callable[..., Tensor]) -> None:
    true, mask = chain(3, 30), random_mask(3, 30)
    predicted = true + random(3, 30, 3, seed=2)
    wild = torch.where(mask[..., None] > 0, predicted, 1e3)
    blank = torch.where(mask[..., None] > 0, true, torch.nan)
    scores = score(predicted, true, mask)
    assert torch.equal(score(wild, blank, mask > 0), scores)
    alone = [
        score(p[m > 0], t[m > 0], m[m > 0]) for p, t, m in zip(predicted, true, mask, strict=True)
    ]
    torch.testing.assert_close(torch.stack(alone), scores)
    assert (scores < 1).all() or score is metrics.rmsd


@pytest.mark.parametrize("score", [*SCORES, metrics.rmsd])
def test_nothing_known_scores_nan(score: Callable[..., Tensor]) -> None:
    true = chain(2, 5)
    scores = score(true, true, torch.tensor([[0.0] * 5, [1.0] * 5]))
    assert torch.isnan(scores[0])
    assert not torch.isnan(scores[1])


def test_lddt_of_one_stretched_distance() -> None:
    true = torch.tensor([[0.0, 0, 0], [10, 0, 0], [0, 10, 0], [50, 0, 0]])
    for stretch, kept in [(0.4, 4), (0.9, 3), (1.5, 2), (3.0, 1), (5.0, 0)]:
        predicted = true.clone()
        predicted[1, 2] = ((10 + stretch) ** 2 - 100) ** 0.5  # off the line and off the plane
        distance = torch.cdist(predicted[:3], predicted[:3])
        assert distance[0, 1] == pytest.approx(10 + stretch)
        off = abs(float(distance[1, 2]) - 200**0.5)
        other = sum(off < t for t in (0.5, 1, 2, 4))
        total = metrics.lddt(predicted, true, torch.ones(4))
        assert float(total) == pytest.approx((kept + other + 4) / 12)


def test_lddt_ignores_distances_beyond_the_cutoff() -> None:
    true = torch.tensor([[0.0, 0, 0], [14.9, 0, 0], [30.0, 0, 0]])
    moved = true + torch.tensor([[0.0, 0, 0], [0, 0, 0], [9.0, 0, 0]])
    assert float(metrics.lddt(moved, true, torch.ones(3))) == 1.0
    assert float(metrics.lddt(moved, true, torch.ones(3), 20.0)) == pytest.approx(0.5)


def test_lddt_ca_reads_the_ca_column() -> None:
    true, predicted = random(2, 9, 37, 3), random(2, 9, 37, 3, seed=1)
    mask, ca = random_mask(2, 9, 37), ATOM37_INDEX["CA"]
    expected = metrics.lddt(predicted[..., ca, :], true[..., ca, :], mask[..., ca])
    assert torch.equal(metrics.lddt_ca(predicted, true, mask), expected)


def test_rmsd_of_a_stretched_pair() -> None:
    true = torch.tensor([[-1.0, 0, 0], [1, 0, 0]])
    assert float(metrics.rmsd(true * 3, true, torch.ones(2))) == pytest.approx(2.0)


def test_superimpose_moves_every_point_as_one_body() -> None:
    moving, mask = chain(2, 20), random_mask(2, 20)
    target = random_motion(2).unsqueeze(-1).apply(moving)
    torch.testing.assert_close(metrics.superimpose(moving, target, mask), target)


def test_half_a_chain_in_place_is_found() -> None:
    true = chain(60)
    swung = true.clone()
    swung[35:] = random_motion(1).unsqueeze(-1).apply(true[None, 35:])[0] + 40
    ones = torch.ones(60)
    assert metrics.rmsd(swung, true, ones) > 10
    assert 35 / 60 <= metrics.gdt_ts(swung, true, ones) < 40 / 60
    assert 35 / 60 <= metrics.tm_score(swung, true, ones) < 42 / 60


def test_gdt_ts_counts_cutoffs() -> None:
    true = torch.zeros(40, 3)
    true[:, 0] = torch.arange(40.0) * 5
    for shift in (0.9, 1.5, 3.0, 6.0, 30.0):
        predicted = true.clone()
        predicted[20, 1], predicted[21, 1] = shift, -shift
        score = float(metrics.gdt_ts(predicted, true, torch.ones(40)))
        in_place = sum(2 * (shift <= cutoff) for cutoff in (1, 2, 4, 8))
        # Moving the whole chain to meet one of the two takes the other further away.
        at_most = sum((shift <= cutoff) + (shift <= 2 * cutoff) for cutoff in (1, 2, 4, 8))
        assert 38 + in_place / 4 <= 40 * score + 1e-4
        assert 40 * score - 1e-4 <= 38 + max(in_place, at_most) / 4


def test_tm_score_of_a_known_distance() -> None:
    d0 = 1.24 * 85 ** (1 / 3) - 1.8
    true = chain(100)
    predicted = true.clone()
    predicted[0] += 1e4
    score = float(metrics.tm_score(predicted, true, torch.ones(100)))
    assert score == pytest.approx(0.99)
    noisy = true + 2 * random(100, 3, seed=5)
    aligned = metrics.superimpose(noisy, true, torch.ones(100))
    plain = (1 / (1 + ((aligned - true).norm(dim=-1) / d0) ** 2)).mean()
    assert plain <= metrics.tm_score(noisy, true, torch.ones(100)) < plain + 0.05


def test_batches_score_as_their_members() -> None:
    true, mask = chain(2, 2, 25), random_mask(2, 2, 25)
    predicted = true + random(2, 2, 25, 3, seed=1)
    for score in [*SCORES, metrics.rmsd, metrics.superimpose]:
        together = score(predicted, true, mask)
        torch.testing.assert_close(together[1, 0], score(predicted[1, 0], true[1, 0], mask[1, 0]))


def test_half_precision_is_scored_in_single() -> None:
    true, ones = chain(30).float(), torch.ones(30)
    half = true.bfloat16()
    for score in [*SCORES, metrics.rmsd]:
        value = score(half, true, ones)
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, score(half.float(), true, ones))


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_biotite(seed: int) -> None:
    structure = pytest.importorskip("biotite.structure")
    true, n = chain(80, seed=seed), 80
    predicted = true + 1.5 * random(n, 3, seed=seed + 10)
    arrays = []
    for points in (true, predicted):
        array = structure.AtomArray(n)
        array.coord = points.numpy().astype(np.float32)
        array.res_id = np.arange(1, n + 1)
        array.chain_id[:], array.res_name[:], array.atom_name[:] = "A", "ALA", "CA"
        array.element[:] = "C"
        arrays.append(array)
    ones = torch.ones(n)
    lddt = structure.lddt(*arrays)
    assert float(metrics.lddt(predicted, true, ones)) == pytest.approx(lddt, abs=1e-5)
    fitted, _ = structure.superimpose(*arrays)
    rmsd = structure.rmsd(arrays[0], fitted)
    assert float(metrics.rmsd(predicted, true, ones)) == pytest.approx(rmsd, abs=1e-5)
    every = np.arange(n)
    tm = structure.tm_score(arrays[0], fitted, every, every, reference_length=n)
    assert tm - 1e-6 <= float(metrics.tm_score(predicted, true, ones)) < tm + 0.05


@pytest.mark.parametrize(
    "shapes", [((5, 3), (6, 3), (5,)), ((5, 3), (5, 3), (4,)), ((5, 3), (1, 3), (5,)), ((5,),) * 3]
)
@pytest.mark.usefixtures("unchecked_shapes")
def test_shapes_that_do_not_fit(shapes: tuple[tuple[int, ...], ...]) -> None:
    arguments = [torch.ones(shape) for shape in shapes]
    for score in [*SCORES, metrics.rmsd, metrics.superimpose]:
        with pytest.raises(
            BadDataError, match=r"shapes \(5,.*\n  mend: give positions as \(\.\.\., re"
        ):
            score(*arguments)
