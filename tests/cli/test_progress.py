"""What a run looks like on a terminal and in a log."""

import io
import math
from dataclasses import replace

import pytest
from rich.console import Console

from sci_memeff.cli.progress import Printed, readable_bytes, score_table, skipped_table
from sci_memeff.training.reports import Beginning, ProteinScore, SkippedSample, StepReport

SCORES = [
    ProteinScore(
        name="1ubq_A",
        residues=76,
        loss=2.0,
        lddt_ca=0.75,
        gdt_ts=0.625,
        tm_score=0.875,
        rmsd_ca=1.5,
        plddt=70.0,
    )
]


def report(step: int, **changes) -> StepReport:
    values = {
        "step": step,
        "next_sample": step,
        "names": ("1ubq_A",),
        "loss": 3.25,
        "lddt_ca": 0.5,
        "terms": {},
        "learning_rate": 1e-3,
        "gradient_norm": 1.0,
        "updated": True,
        "skipped": (),
        "seconds": 0.75,
        "peak_bytes": 3 << 29,
    }
    return StepReport(**(values | changes))


def shown(terminal: bool, steps: int, first: int = 0, **changes) -> str:
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=120, _environ={})
    with Printed(console) as printed:
        printed.began(Beginning("demo", "runs/demo", "cpu", 1234567, first, steps))
        for step in range(first + 1, steps + 1):
            printed.stepped(report(step, **(changes if step == 3 else {})))
        printed.validated(steps, SCORES)
    return text.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_loss_score_speed_and_bytes_are_shown(terminal):
    text = shown(terminal, 200)
    for wanted in ("1,234,567 parameters on cpu", "3.250", "lDDT-Cα 0.500", "0.75 s/step"):
        assert wanted in text
    assert "peak 1.50 GiB" in text
    assert "lDDT-Cα 0.750, loss 2.000" in text


def test_log_has_a_line_every_few_steps_and_the_last():
    lines = [line for line in shown(False, 201).splitlines() if line.startswith("step ")]
    assert len(lines) == 51
    assert "201/201" in lines[-1]


def test_resumed_run_says_where_it_goes_on():
    assert "steps 8 to 10" in shown(False, 10, first=7)


@pytest.mark.parametrize("terminal", [True, False])
def test_what_went_wrong_is_named_at_once(terminal):
    skipped = (SkippedSample(17, "bad_A", "[no] atoms"),)
    text = shown(terminal, 5, skipped=skipped, updated=False, problem="1ubq_A: the loss is nan")
    assert "skipped sample 17, bad_A: [no] atoms" in text
    assert "step 3 made no update: 1ubq_A: the loss is nan" in text


def test_a_sample_without_a_score_leaves_the_others():
    text = shown(False, 5, lddt_ca=math.nan)
    assert "nan" not in text
    unscored = replace(SCORES[0], name="9xyz_A", lddt_ca=math.nan)
    out = io.StringIO()
    with Printed(Console(file=out, width=120)) as printed:
        printed.validated(3, [*SCORES, unscored])
    assert "on 2 proteins: lDDT-Cα 0.750, loss 2.000" in out.getvalue()


def test_tables_name_every_protein():
    text = io.StringIO()
    console = Console(file=text, width=100)
    console.print(score_table(SCORES))
    console.print(skipped_table({("bad_A", "[no] atoms"): 4}))
    for wanted in (
        *("1ubq_A", "76", "0.750", "0.625", "0.875", "1.50", "70.0"),
        *("bad_A", "4", "[no] atoms"),
    ):
        assert wanted in text.getvalue()


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.50 KiB"),
        (5 << 20, "5.00 MiB"),
        (3 << 29, "1.50 GiB"),
    ],
)
def test_bytes_are_readable(count, text):
    assert readable_bytes(count) == text
