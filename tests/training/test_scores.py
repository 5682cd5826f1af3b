"""Scores of training samples and of validation, where some have none."""

import math

import pytest
import torch

from sci_memeff.training.scores import known_mean, mean_lddt_ca


def test_mean_of_what_is_known():
    assert known_mean([1.0, math.nan, 2.0, math.inf]) == 1.5
    assert known_mean(value for value in (3.0,)) == 3.0
    assert math.isnan(known_mean([math.nan]))
    assert math.isnan(known_mean([]))


def test_proteins_without_resolved_atoms_are_no_part_of_a_batch():
    true = torch.randn(2, 9, 37, 3) * 5
    mask = torch.ones(2, 9, 37)
    mask[1] = 0
    outputs = {"final_atom_positions": true.clone()}
    features = {"all_atom_positions": true, "all_atom_mask": mask}
    assert mean_lddt_ca(outputs, features) == pytest.approx(1.0)
    assert math.isnan(mean_lddt_ca(outputs, features | {"all_atom_mask": mask * 0}))
