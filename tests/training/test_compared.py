"""Whether curves end as the baseline's do, by its spread over seeds."""

import json
from dataclasses import replace

import pytest

from sci_memeff.errors import VerificationError
from sci_memeff.training.compared import Curve, Curves


def curve(variant: str, seed: int, loss: float, lddt: float) -> Curve:
    return Curve(
        variant=variant,
        seed=seed,
        losses=tuple(loss + 10 / k for k in range(1, 41)),
        lddts=tuple(lddt - 0.1 / k for k in range(1, 41)),
        final_loss=loss,
        final_lddt=lddt,
        peak_bytes=7,
    )


def curves(loss: float, lddt: float) -> Curves:
    base = [curve("fp32", k, x, y) for k, (x, y) in enumerate([(2.0, 0.8), (2.2, 0.7), (2.4, 0.9)])]
    return Curves(
        curves=(*base, *(curve("other", k, loss, lddt) for k in range(3))), baseline="fp32"
    )


@pytest.mark.parametrize(
    ("loss", "lddt", "passed"),
    [
        (2.2, 0.8, True),
        (2.59, 0.61, True),  # 2 standard deviations are 0.4 and 0.2
        (2.61, 0.8, False),
        (2.2, 0.59, False),
        (1.0, 0.99, True),  # better is no reason to refuse it
        (float("nan"), 0.8, False),
    ],
)
def test_no_worse_than_the_spread_of_seeds(loss: float, lddt: float, passed: bool):
    found = curves(loss, lddt)
    base, other = found.verdicts
    assert base.passed
    assert base.loss_away == base.lddt_away == 0
    assert other.passed == found.passed == passed
    if passed:
        assert found.raise_if_bad() is found
    else:
        with pytest.raises(VerificationError, match=r"other by .*\n  mend: train with a wider"):
            found.raise_if_bad()
        assert "NOT passed" in str(found)


def test_how_far_away_is_in_standard_deviations():
    _, other = curves(2.6, 0.75).verdicts
    assert other.loss_away == pytest.approx(2.0)
    assert other.lddt_away == pytest.approx(0.5)


def test_what_is_told(tmp_path):
    found = curves(2.3, 0.8)
    assert "3 seeds each; fp32 ends with a loss of 2.2000 ± 0.2000" in str(found)
    read = json.loads(found.to_json())
    assert read["passed"] is True
    assert read["variants"]["other"]["losses"] == [2.3] * 3
    found.plot(tmp_path / "curves.svg")
    drawn = (tmp_path / "curves.svg").read_text()
    assert drawn.count("<path") > 10


def test_curves_that_diverged_are_drawn(tmp_path):
    broken = [replace(one, losses=(float("nan"),) * 40) for one in curves(2.3, 0.8).curves]
    Curves(curves=tuple(broken), baseline="fp32").plot(tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 1000
