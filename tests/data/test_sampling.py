import numpy as np
import pytest

from sci_memeff.data.config import DataConfig
from sci_memeff.data.sampling import Sampler, weight
from sci_memeff.data.sources.record import Record


@pytest.mark.parametrize(
    ("length", "cluster", "expected"),
    [(10, 1, 0.5), (256, 1, 0.5), (384, 1, 0.75), (512, 1, 1.0), (2000, 1, 1.0), (384, 3, 0.25)],
)
def test_weights_by_length_and_cluster(length, cluster, expected):
    assert weight(Record("a", "A" * length, cluster_size=cluster)) == pytest.approx(expected)


def drawn(records, count=4000, seed=0, **settings):
    sampler = Sampler(records, DataConfig(**settings), seed)
    return [sampler[sample].name for sample in range(count)]


def test_chains_come_as_often_as_they_weigh():
    records = [
        Record("a", "A" * 100),
        Record("b", "A" * 512),
        Record("c", "A" * 512, None, None, 4),
    ]
    names = drawn(records)
    share = [names.count(name) / len(names) for name in "abc"]
    assert share == pytest.approx(np.array([0.5, 1.0, 0.25]) / 1.75, abs=0.03)


def test_the_mix_with_predictions():
    records = [Record("a", "A"), Record("p", "A" * 512, is_distillation=True)]
    share = drawn(records, distillation_probability=0.75).count("p") / 4000
    assert share == pytest.approx(0.75, abs=0.03)
    assert set(drawn(records, 100, distillation_probability=0.0)) == {"a"}
    assert set(drawn(records[:1], 100)) == {"a"}
    assert set(drawn(records[1:], 100)) == {"p"}


def test_a_sample_needs_no_predecessor():
    records = [Record(name, "A" * 300) for name in "abcdefgh"]
    names = drawn(records, 50)
    sampler = Sampler(records, DataConfig(), 0)
    assert [sampler[sample].name for sample in reversed(range(50))] == names[::-1]
    assert names != drawn(records, 50, seed=1)
