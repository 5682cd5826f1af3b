import dataclasses

import pytest

from sci_memeff.alphafold.losses import LossConfig
from sci_memeff.errors import BadConfigError


def test_stages_have_alphafolds_weights():
    initial = {"fape": 1.0, "supervised_chi": 1.0, "distogram": 0.3, "masked_msa": 2.0}
    initial |= {"plddt": 0.01, "experimentally_resolved": 0.0, "violation": 0.0, "tm": 0.0}
    late = {"experimentally_resolved": 0.01, "violation": 1.0}
    assert LossConfig().weights == initial
    assert LossConfig().with_ptm().weights == initial | {"tm": 0.1}
    assert LossConfig.finetuning().weights == initial | late
    assert LossConfig.finetuning().with_ptm().weights == initial | late | {"tm": 0.1}


def test_shares_of_fape_and_torsions():
    config = LossConfig()
    assert (config.backbone_share, config.sidechain_share) == (0.5, 0.5)
    assert (config.chi_share, config.angle_norm_share) == (0.5, 0.01)


def test_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        LossConfig().fape_weight = 2.0  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("value", [-0.1, float("nan")])
def test_refuses_what_is_not_positive(value):
    with pytest.raises(BadConfigError, match=r"setting fape_clamp is .*\n  mend: give 0 or more"):
        LossConfig(fape_clamp=value)


def test_refuses_to_weigh_nothing():
    with pytest.raises(BadConfigError, match=r"weight 0\n  mend: weigh one of them"):
        LossConfig(**{f"{name}_weight": 0.0 for name in LossConfig().weights})
