"""The tables of a run: rows that belong to steps not kept are dropped, halves of rows too."""

import math

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sci_memeff.training.records import Records
from sci_memeff.training.reports import ProteinScore, SkippedSample, StepReport


def report(step: int, loss: float = 0.1, updated: bool = True) -> StepReport:
    return StepReport(
        step=step,
        next_sample=2 * step,
        names=("1ubq_A",),
        loss=loss,
        lddt_ca=0.5,
        terms={"fape": loss},
        learning_rate=1e-3,
        gradient_norm=1.0,
        updated=updated,
        skipped=(SkippedSample(2 * step - 1, "bad_A", "why,\nin two lines"),),
        seconds=0.25,
        peak_bytes=1000 + step,
    )


def score(name: str, lddt: float = 0.5) -> ProteinScore:
    values = {"loss": 1.0, "gdt_ts": 0.4, "tm_score": 0.3, "rmsd_ca": 2.0, "plddt": 50.0}
    return ProteinScore(name=name, residues=9, lddt_ca=lddt, **values)


@pytest.fixture
def written(tmp_path):
    records = Records(tmp_path, step=0, next_sample=0)
    for step in range(1, 6):
        records.step(report(step, loss=step / 3, updated=step < 4))
    records.scores(2, [score("1ubq_A"), score("4zey_A", 0.7)])
    records.scores(4, [score("1ubq_A")])
    records.close()
    return tmp_path


def test_floats_read_back_exactly(written):
    lines = (written / "metrics.csv").read_text().splitlines()
    assert lines[0].endswith("cut_values,cut_to,was_reset,loss/fape")
    assert [float(line.split(",")[2]) for line in lines[1:]] == [k / 3 for k in range(1, 6)]


def test_curves_are_those_of_the_tables(written):
    records = Records(written, step=3, next_sample=6)  # takes steps 4 and 5 again
    records.step(report(4, loss=9.0))
    records.close()
    board = EventAccumulator(str(written / "tensorboard"))
    board.Reload()
    curves = {
        name: [(event.step, pytest.approx(event.value)) for event in board.Scalars(name)]
        for name in board.Tags()["scalars"]
    }
    assert curves["train/loss"] == [(1, 1 / 3), (2, 2 / 3), (3, 1.0), (4, 9.0)]
    assert curves["train/loss"] == curves["train_loss/fape"]
    assert curves["validation/lddt_ca"] == [(2, 0.6)]
    assert {"train/learning_rate", "train/peak_bytes", "validation/rmsd_ca"} <= curves.keys()


def test_going_back_drops_the_rows_beyond(written):
    records = Records(written, step=3, next_sample=6)
    records.close()
    assert len((written / "metrics.csv").read_text().splitlines()) == 4
    assert len((written / "validation.csv").read_text().splitlines()) == 3
    assert records.skipped_counts() == {("bad_A", "why,\nin two lines"): 3}


def test_going_back_to_the_start_leaves_nothing(written):
    Records(written, step=0, next_sample=0).close()
    assert not (written / "metrics.csv").exists()
    assert not (written / "skipped.csv").exists()


def test_row_that_was_cut_short_is_dropped(written):
    with (written / "metrics.csv").open("a") as file:
        file.write("6,12,0.")
    records = Records(written, step=6, next_sample=12)
    records.close()
    assert records.summary([]).steps == 5


def test_summary_adds_up_every_row(written):
    records = Records(written, step=5, next_sample=10)
    records.close()
    found = records.summary([score("1ubq_A"), score("4zey_A", 0.7), score("none_A", math.nan)])
    assert found.lddt_ca == pytest.approx(0.6)
    assert (found.steps, found.proteins, found.skipped_samples) == (5, 3, 5)
    assert (found.seconds, found.skipped_updates, found.peak_bytes) == (1.25, 2, 1005)
    assert records.failures_in_a_row() == 2


def test_scores_of_a_step_replace_those_of_the_same_step(written):
    records = Records(written, step=5, next_sample=10)
    records.scores(4, [score("4zey_A")])
    records.close()
    lines = (written / "validation.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in lines[1:]] == [
        ["2", "1ubq_A"],
        ["2", "4zey_A"],
        ["4", "4zey_A"],
    ]
