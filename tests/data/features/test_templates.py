import numpy as np
import pytest

from sci_memeff.data.config import DataConfig
from sci_memeff.data.features.schema import AXES, RESIDUES, TEMPLATES
from sci_memeff.data.features.templates import sample_templates, template_features
from sci_memeff.data.features.torsions import torsion_angles
from sci_memeff.data.proteins.record import Templates, no_templates


@pytest.fixture
def templates():
    rng = np.random.default_rng(0)
    mask = rng.random((6, 7, 37)) < 0.7
    assert set(np.unique(mask)) == {False, True}
    positions = rng.normal(size=(6, 7, 37, 3)).astype(np.float32) * mask[..., None]
    aatype = rng.integers(0, 22, (6, 7)).astype(np.uint8)
    return Templates(aatype, positions, mask, np.arange(6, dtype=np.float32)[::-1, None])


def test_features_have_the_shapes_of_the_schema(templates):
    features = template_features(templates)
    assert set(features) == {name for name, axes in AXES.items() if TEMPLATES in axes}
    sizes = {TEMPLATES: 6, RESIDUES: 7}
    for name, value in features.items():
        assert value.shape == tuple(sizes.get(axis, axis) for axis in AXES[name])
    assert features["template_mask"].tolist() == [1.0] * 6
    angles = torsion_angles(
        templates.aatype.astype(np.int64), templates.positions, templates.mask.astype(np.float32)
    )
    for name, value in angles.items():
        assert np.array_equal(features[f"template_{name}"], value)
    assert set(np.unique(features["template_torsion_angles_mask"])) == {0.0, 1.0}


def test_no_template_is_one_masked_row():
    features = template_features(no_templates(5))
    assert features["template_aatype"].shape == (1, 5)
    assert features["template_torsion_angles_sin_cos"].shape == (1, 5, 7, 2)
    assert not any(value.any() for value in features.values())


def test_evaluation_takes_the_best(templates):
    best = sample_templates(templates, DataConfig(max_templates=4), None)
    assert best.sum_probs[:, 0].tolist() == [5, 4, 3, 2]
    assert len(sample_templates(no_templates(3), DataConfig(), None).aatype) == 0


def test_training_takes_a_random_number_of_random_ones(templates):
    rng = np.random.default_rng(0)
    counts, seen = np.zeros(5), np.zeros(6)
    for _ in range(3000):
        sample = sample_templates(templates, DataConfig(max_templates=4), rng)
        chosen = sample.sum_probs[:, 0].astype(int)
        assert len(set(chosen)) == len(chosen)
        assert np.array_equal(sample.aatype, templates.aatype[5 - chosen])
        counts[len(chosen)] += 1
        seen[chosen] += 1
    # min(uniform[0, 6], 4)
    assert counts / 3000 == pytest.approx(np.array([1, 1, 1, 1, 3]) / 7, abs=0.03)
    assert seen / seen.sum() == pytest.approx(1 / 6, abs=0.01)


def test_a_model_without_templates_gets_none(templates):
    rng = np.random.default_rng(0)
    for generator in (None, rng):
        assert not len(sample_templates(templates, DataConfig(max_templates=0), generator).aatype)
