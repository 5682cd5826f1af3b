"""Short runs of several seeds and recipes, each in its folder."""

from dataclasses import replace
from pathlib import Path

import pytest

from sci_memeff import Plan
from sci_memeff.errors import BadConfigError
from sci_memeff.training.curves import Variant, training_curves
from tests.training.test_alphafold import tiny

DATA = Path(__file__).parents[2] / "data"


def settings(steps: int = 2):
    found = tiny(steps)
    return replace(found, optimizer=replace(found.optimizer, batch_size=1))


@pytest.mark.slow
def test_variants_begin_alike_and_go_on_where_they_were(tmp_path: Path):
    variants = [
        Variant(name="fp32"),
        Variant(name="again"),
        Variant(name="bf16", plan=Plan(recipe="bf16")),
        Variant(name="8 bits", optimizer={"kind": "adam8bit"}),
    ]
    told: list[tuple[str, int, int]] = []

    def run():
        return training_curves(
            settings(),
            DATA,
            variants,
            seeds=(0, 1),
            folder=tmp_path,
            progress=lambda *one: told.append(one),
        )

    found = run()
    runs = {(curve.variant, curve.seed): curve for curve in found.curves}
    assert runs["fp32", 0].losses == runs["again", 0].losses
    assert runs["fp32", 0].losses != runs["fp32", 1].losses
    assert runs["bf16", 0].losses[0] == pytest.approx(runs["fp32", 0].losses[0], rel=0.02)
    assert runs["bf16", 0].losses != runs["fp32", 0].losses
    # the first loss is that of the first weights, whichever optimizer follows
    assert runs["8 bits", 0].losses[0] == runs["fp32", 0].losses[0]
    assert {verdict.variant for verdict in found.verdicts} == {v.name for v in variants}
    assert told[-1] == ("done", 8, 8)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("metrics.csv")}
    assert run() == found  # read from their folders
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("metrics.csv")}


@pytest.mark.parametrize(
    ("names", "seeds", "message"),
    [
        (("fp32", "fp32"), (0, 1), "two variants have one name"),
        (("fp 32", "fp-32"), (0, 1), "two variants have one name"),
        (("fp32", "bf16"), (0, 0), "no spread to compare with\n  mend: give two seeds or more"),
        (("fp32",), (0, 1), "no spread"),
    ],
)
def test_what_shows_no_spread(tmp_path: Path, names, seeds, message: str):
    with pytest.raises(BadConfigError, match=message):
        training_curves(
            settings(), DATA, [Variant(name=n) for n in names], seeds=seeds, folder=tmp_path
        )
