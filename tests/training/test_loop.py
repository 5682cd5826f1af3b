"""The loop with a stand-in model: what it learns, writes, skips, survives and resumes."""

import csv
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sci_memeff.errors import BadCheckpointError, BadConfigError, BadDataError, DivergedError
from sci_memeff.training import loop
from sci_memeff.training.loop import fit
from sci_memeff.training.reports import Silent
from sci_memeff.training.weights import load_any

from .standins import Example, Parts, Skipped, TinyData, features, loss, parts, settings, without


def rows(folder: Path, name: str = "metrics.csv") -> list[dict[str, str]]:
    with (folder / name).open(newline="") as file:
        return list(csv.DictReader(file))


def numbers(folder: Path) -> list[dict[str, str]]:
    """The metrics that must be the same in every run of the same settings, as text: exact."""
    return [
        {k: v for k, v in r.items() if k not in ("seconds", "peak_bytes")} for r in rows(folder)
    ]


class Listening(Silent):
    def __init__(self, stop_at: int | None = None, with_signal: bool = False) -> None:
        self.lines: list[str] = []
        self.steps: list = []
        self.scores: dict = {}
        self.stop_at, self.with_signal = stop_at, with_signal

    def noted(self, line: str) -> None:
        self.lines.append(line)

    def validated(self, step, scores) -> None:
        self.scores[step] = scores

    def stepped(self, report) -> None:
        self.steps.append(report)
        if report.step == self.stop_at:
            if not self.with_signal:
                raise RuntimeError("power cut")
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    fit(parts(), settings(), folder)
    return folder


def test_run_learns_and_leaves_everything_a_reader_needs(tmp_path):
    listening = Listening()
    folder = tmp_path / "run"
    fitted = fit(parts(), settings(steps=80), folder, reporter=listening)
    table = rows(folder)
    assert [int(row["step"]) for row in table] == list(range(1, 81))
    assert float(table[-1]["loss"]) < 0.5 * float(table[0]["loss"])
    assert float(table[0]["loss/position"]) == float(table[0]["loss"])
    assert sorted(listening.scores) == list(range(5, 81, 5))
    assert fitted.summary is not None
    assert json.loads((folder / "summary.json").read_text()) == json.loads(fitted.summary.json())
    assert fitted.summary.steps == 80
    assert fitted.summary.lddt_ca == pytest.approx(
        sum(score.lddt_ca for score in fitted.scores) / 2
    )
    assert len(list((folder / "checkpoints").iterdir())) == 3
    assert {path.name for path in (folder / "structures").iterdir()} == {
        "walk_0.cif",
        "walk_0.pdb",
        "walk_1.cif",
        "walk_1.pdb",
    }
    assert (folder / "picture.png").stat().st_size > 1000
    assert list((folder / "tensorboard").iterdir())
    assert "learning_rate: 0.03" in (folder / "config.yaml").read_text()


def test_the_averaged_weights_are_scored(tmp_path, monkeypatch):
    seen = []
    evaluate = loop.evaluate

    def noted(model, *rest):
        seen.append(model.out.weight.clone())
        return evaluate(model, *rest)

    monkeypatch.setattr(loop, "evaluate", noted)
    trainer = fit(parts(), settings(), tmp_path).trainer
    assert len(seen) == 3 * 2  # after steps 5, 10 and 12, two proteins each
    weight = trainer.model.out.weight
    assert torch.equal(seen[-1], trainer.optimizer.average(weight))
    assert not torch.equal(seen[-1], weight)  # which is itself again
    assert all(torch.equal(one, two) for one, two in zip(seen[::2], seen[1::2], strict=True))


def test_bad_samples_are_skipped_counted_and_named(whole):
    table = rows(whole)
    assert sum(int(row["skipped"]) for row in table) == len(rows(whole, "skipped.csv")) > 0
    assert rows(whole, "skipped.csv")[0] == {
        "sample": "4",
        "name": "bad_A",
        "reason": "no atoms, in fact",
    }
    assert "worse.cif: line cut short" in {row["reason"] for row in rows(whole, "skipped.csv")}
    assert json.loads((whole / "summary.json").read_text())["skipped_samples"] > 0


@pytest.mark.parametrize("stop_at", range(1, 12))
def test_run_cut_at_any_step_resumes_bit_for_bit(whole, tmp_path, stop_at):
    with pytest.raises(RuntimeError, match="power cut"):
        fit(parts(), settings(), tmp_path, reporter=Listening(stop_at))
    fitted = fit(parts(), settings(), tmp_path, resume=True)
    assert numbers(tmp_path) == numbers(whole)
    assert rows(tmp_path, "skipped.csv") == rows(whole, "skipped.csv")
    assert rows(tmp_path, "validation.csv") == rows(whole, "validation.csv")
    same = fit(parts(), settings(), whole, resume=True)
    ended, wanted = (f.trainer.optimizer.state_dict()["state"] for f in (fitted, same))
    assert all(
        torch.equal(ended[number][key], value)
        for number, states in wanted.items()
        for key, value in states.items()
    )


@pytest.mark.parametrize("killed_at", [5, 12])
def test_run_killed_while_it_scores_scores_again(whole, tmp_path, monkeypatch, killed_at):
    """Step 5 lies after a checkpoint, which here is written at every step."""
    evaluate = loop.evaluate

    def cut(model, *rest):
        if run.step == killed_at:
            raise RuntimeError("power cut")
        return evaluate(model, *rest)

    run = Listening()
    run.step = 0
    run.stepped = lambda report: setattr(run, "step", report.step)
    often = settings(checkpoint_every=1)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "evaluate", cut)
        with pytest.raises(RuntimeError, match="power cut"):
            fit(parts(), often, tmp_path, reporter=run)
    fit(parts(), often, tmp_path, resume=True)
    assert rows(tmp_path, "validation.csv") == rows(whole, "validation.csv")
    assert numbers(tmp_path) == numbers(whole)


def test_test_above_can_fail(whole, tmp_path):
    fit(parts(), settings(seed=6), tmp_path)
    assert numbers(tmp_path) != numbers(whole)


def test_prefetching_changes_no_number(whole, tmp_path):
    fit(parts(), settings(workers=2), tmp_path)
    assert numbers(tmp_path) == numbers(whole)


def start(folder: Path, how: str, workers: int = 0) -> subprocess.Popen:
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [sys.executable, "-m", "training.standins", str(folder), how, str(workers)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_killed_process_resumes_bit_for_bit(whole, tmp_path, workers):
    with start(tmp_path, "new", workers) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == "6":
                process.kill()
                break
        process.communicate(timeout=30)  # the output ends once no worker holds it any more
    assert process.returncode == -signal.SIGKILL
    fit(parts(), settings(), tmp_path, resume=True)
    assert numbers(tmp_path) == numbers(whole)


@pytest.mark.parametrize(
    ("number", "workers"), [(signal.SIGTERM, 0), (signal.SIGINT, 2)], ids=["term", "int"]
)
def test_signal_saves_and_exits_with_its_code(whole, tmp_path, number, workers):
    with start(tmp_path, "new", workers) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == "3":
                process.send_signal(number)
    assert process.returncode == 128 + number
    steps = [int(row["step"]) for row in rows(tmp_path)]
    assert 3 <= len(steps) < 12
    assert (tmp_path / "checkpoints" / f"step-{steps[-1]:08d}" / "state.json").exists()
    fit(parts(), settings(), tmp_path, resume=True)
    assert numbers(tmp_path) == numbers(whole)


def test_stop_in_this_process_is_reported_and_leaves_no_summary(tmp_path):
    listening = Listening(stop_at=5, with_signal=True)
    before = signal.getsignal(signal.SIGTERM)
    fitted = fit(parts(), settings(), tmp_path, reporter=listening)
    assert signal.getsignal(signal.SIGTERM) is before
    assert fitted.stopped_by == signal.SIGTERM
    assert fitted.summary is None
    assert not (tmp_path / "summary.json").exists()
    assert "stopped by SIGTERM after step 5" in listening.lines[-1]
    assert "--resume" in listening.lines[-1]


class Poisoned:
    """NaN coordinates in some samples."""

    def __init__(self, bad) -> None:
        self.bad = bad

    def __getitem__(self, k: int) -> Example:
        out = features(k % 4)
        if self.bad(k):
            out["all_atom_positions"] = out["all_atom_positions"] * float("nan")
        return Example(name=f"walk_{k % 4}", features=out)


def test_nan_loss_skips_the_update_and_is_reported(tmp_path):
    listening = Listening()
    fitted = fit(parts(Poisoned(lambda k: k == 5)), settings(), tmp_path, reporter=listening)
    bad = [report for report in listening.steps if not report.updated]
    assert [report.step for report in bad] == [3]
    assert "walk_1: the loss is nan" in bad[0].problem
    assert rows(tmp_path)[2]["updated"] == "0"
    assert fitted.summary is not None
    assert fitted.summary.skipped_updates == 1
    assert all(torch.isfinite(p).all() for p in fitted.trainer.model.parameters())


def test_infinite_gradient_skips_the_update(tmp_path):
    def root(outputs, features):
        value, terms = loss(outputs, features)
        return (value - value.detach()).abs().sqrt(), terms

    one = parts()
    fitted = fit(
        Parts(one.model, root, one.data, []),
        settings(steps=2),
        tmp_path,
        reporter=(listening := Listening()),
    )
    assert not listening.steps[0].updated
    assert "the gradient's norm is" in listening.steps[0].problem
    assert torch.equal(fitted.trainer.model.out.weight, parts().model.out.weight)


def test_ten_bad_updates_in_a_row_stop_the_run(tmp_path):
    with pytest.raises(
        DivergedError,
        match=rf"10 updates in a row.*\n.*lower optimizer.learning_rate.*--weights {tmp_path} if",
    ):
        fit(parts(Poisoned(lambda k: k >= 4)), settings(steps=40), tmp_path)
    assert len(rows(tmp_path)) == 12
    load_any(parts().model, tmp_path, pytest.fail)  # as the message says
    with pytest.raises(DivergedError):  # and a resumed run does not start counting anew
        fit(parts(Poisoned(lambda k: k >= 4)), settings(steps=40), tmp_path, resume=True)
    assert len(rows(tmp_path)) == 12


def test_nothing_but_bad_samples_is_an_error(tmp_path, monkeypatch):
    class Nothing:
        def __getitem__(self, k: int) -> Skipped:
            return Skipped(name="bad_A", reason="resolution 12 Å")

    with pytest.raises(BadDataError, match=r"(?s)1000 samples in a row.*12 Å.*data check"):
        fit(parts(Nothing()), settings(), tmp_path)


def test_new_run_does_not_overwrite_an_old_one(whole):
    before = numbers(whole)
    with pytest.raises(BadConfigError, match=r"(?s)holds a run already.*--resume"):
        fit(parts(), settings(), whole)
    assert numbers(whole) == before


def test_resuming_under_other_settings_lists_the_differences(whole):
    with pytest.raises(
        BadCheckpointError,
        match=r"(?s)run\.seed: 5 there, 7 here.*config\.yaml",
    ):
        fit(parts(), settings(seed=7), whole, resume=True)


def test_resuming_on_other_proteins_is_refused(whole):
    other = replace(parts(), fingerprint="4 chains, abc")
    with pytest.raises(BadCheckpointError, match=r"proteins:  there, 4 chains, abc here"):
        fit(other, settings(), whole, resume=True)


def test_resumed_run_may_be_longer(tmp_path):
    fit(parts(), settings(steps=20), tmp_path / "long")
    fit(parts(), settings(), tmp_path / "short")
    fit(parts(), without(settings(), steps=20), tmp_path / "short", resume=True)
    assert numbers(tmp_path / "short") == numbers(tmp_path / "long")


def test_resumed_run_may_not_be_shorter_than_it_is(whole):
    before = (whole / "config.yaml").read_text()
    with pytest.raises(BadConfigError, match=r"(?s)12 updates, more than the 3.*leave out --steps"):
        fit(parts(), settings(steps=3), whole, resume=True)
    assert (whole / "config.yaml").read_text() == before


def test_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BadConfigError, match=r"(?s)run cannot be made \(Not a dir.*with --out"):
        fit(parts(), settings(), tmp_path / "file" / "run")


def test_proteins_without_resolved_atoms_have_no_score(tmp_path):
    class Unresolved(TinyData):
        def __getitem__(self, k: int):
            item = super().__getitem__(k)
            if k == 2 and isinstance(item, Example):
                item.features["all_atom_mask"] = item.features["all_atom_mask"].copy()
                item.features["all_atom_mask"][:, 1] = 0  # of Cα alone
            return item

    fit(parts(Unresolved()), settings(steps=3), tmp_path, reporter=(listening := Listening()))
    assert all(report.updated for report in listening.steps)
    assert all(0 <= report.lddt_ca <= 1 for report in listening.steps)  # of the batch's other one


def test_damaged_checkpoint_is_passed_over_aloud(whole, tmp_path):
    with pytest.raises(RuntimeError, match="power cut"):
        fit(parts(), settings(), tmp_path, reporter=Listening(10))
    newest = tmp_path / "checkpoints" / "step-00000008" / "model.safetensors"
    damaged = bytearray(newest.read_bytes())
    damaged[-1] ^= 1
    newest.write_bytes(damaged)
    fit(parts(), settings(), tmp_path, resume=True, reporter=(listening := Listening()))
    assert "step-00000008 is damaged (model.safetensors)" in listening.lines[0]
    assert "resumed from" in listening.lines[1]
    assert "step-00000004" in listening.lines[1]
    assert numbers(tmp_path) == numbers(whole)


def test_resuming_before_the_first_checkpoint_starts_at_step_0(whole, tmp_path):
    fit(parts(), settings(), tmp_path, resume=True, reporter=(listening := Listening()))
    assert "starting at step 0" in listening.lines[0]
    assert numbers(tmp_path) == numbers(whole)


def test_run_without_proteins_to_score_has_no_score(tmp_path):
    one = parts()
    fitted = fit(Parts(one.model, one.loss, TinyData(), []), settings(steps=2), tmp_path)
    assert fitted.summary is not None
    assert fitted.summary.lddt_ca is None


def test_picture_needs_matplotlib_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    fit(parts(), settings(steps=2), tmp_path, reporter=(listening := Listening()))
    assert "matplotlib" in listening.lines[-1]
    assert not (tmp_path / "picture.png").exists()
    assert loop.PANELS > 0
