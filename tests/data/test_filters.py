from datetime import date

import pytest

from sci_memeff.data.config import DataConfig
from sci_memeff.data.filters import refusal, split_records
from sci_memeff.data.sources.record import Record

SEQUENCE = "ARNDCQEGHI"


@pytest.mark.parametrize(
    ("record", "settings", "reason"),
    [
        (Record("a", SEQUENCE, 8.9), {}, None),
        (Record("a", SEQUENCE, None), {}, None),  # NMR
        (Record("a", SEQUENCE, 9.0), {}, "its resolution is 9 Å, not below 9"),
        (Record("a", "AAAAAAAARN"), {}, None),  # 80 %
        (Record("a", "AAAAAAAAAN"), {}, "9 of its 10 residues are A"),
        (Record("a", SEQUENCE), {"min_length": 11}, "it has 10 residues, fewer than 11"),
        (Record("a", SEQUENCE), {"max_length": 9}, "it has 10 residues, more than 9"),
        (Record("a", SEQUENCE), {"max_length": 10}, None),
    ],
)
def test_what_is_trained_on(record, settings, reason):
    assert refusal(record, DataConfig(**settings)) == reason


def test_late_entries_are_left_out():
    config = DataConfig(max_release_date=date(2018, 4, 30))
    assert refusal(Record("a", SEQUENCE, None, date(2018, 4, 30)), config) is None
    late = Record("a", SEQUENCE, None, date(2018, 5, 1))
    assert refusal(late, config) == "released 2018-05-01, after 2018-04-30"
    assert "not known" in str(refusal(Record("a", SEQUENCE), config))
    assert refusal(Record("a", SEQUENCE, is_distillation=True), config) is None


def test_what_is_dropped_is_named():
    kept, dropped = split_records(
        [Record("good", SEQUENCE), Record("blurred", SEQUENCE, 12.0)], DataConfig()
    )
    assert [record.name for record in kept] == ["good"]
    assert list(dropped) == ["blurred"]
