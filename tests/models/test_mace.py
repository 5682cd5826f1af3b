"""MACE on forces, which differentiates twice."""

from __future__ import annotations

import copy

import pytest

from sci_memeff import apply
from sci_memeff.errors import SecondDerivativeError

from .steps import beside_benchmarks, builders, built, plan_of


@pytest.mark.parametrize("kind", ["sum", "recompute"])
def test_recomputation_and_sums_hold(kind):
    case = built(builders("mace").small, forces=True)
    plan = plan_of(case.model, kind, size=50)
    error, worst, _ = beside_benchmarks("foreign").worst_difference(case, plan)
    assert error <= 1e-9, worst


def test_walks_are_refused():
    case = built(builders("mace").small, forces=True)
    model = apply(copy.deepcopy(case.model), plan_of(case.model, "slice"))
    with pytest.raises(SecondDerivativeError, match=r"walked.*\n  mend: leave out create_graph"):
        case.step(model, case.batch)


def test_a_density_is_no_sum_over_edges():
    builders("mace")
    from mace.modules.blocks import RealAgnosticDensityInteractionBlock as Density

    from sci_memeff.models.mace import MACE

    bases = {f"{one.__module__}.{one.__qualname__}" for one in Density.__mro__}
    assert not any(hint.kind == "sum" and hint.module_class in bases for hint in MACE.seams)
