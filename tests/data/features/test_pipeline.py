import numpy as np
import pytest

from sci_memeff.chemistry import RESTYPES
from sci_memeff.data.config import DataConfig
from sci_memeff.data.features.pipeline import evaluation_example, training_example
from sci_memeff.data.features.schema import AXES, CLUSTERS, EXTRA, RESIDUES, TEMPLATES
from sci_memeff.data.proteins.reading import sequence_protein
from sci_memeff.data.proteins.record import Alignment, Protein, Target, Templates

LENGTH, ROWS = 30, 25


@pytest.fixture(scope="module")
def protein():
    rng = np.random.default_rng(0)
    mask = rng.random((LENGTH, 37)) < 0.8
    positions = rng.normal(size=(LENGTH, 37, 3)).astype(np.float32) * mask[..., None]
    sequence = "".join(rng.choice(list(RESTYPES + "X"), LENGTH))
    msa = rng.integers(0, 22, (ROWS, LENGTH)).astype(np.uint8)
    template_mask = rng.random((5, LENGTH, 37)) < 0.8
    assert set(np.unique(mask)) == set(np.unique(template_mask)) == {False, True}
    templates = Templates(
        rng.integers(0, 22, (5, LENGTH)).astype(np.uint8),
        rng.normal(size=(5, LENGTH, 37, 3)).astype(np.float32) * template_mask[..., None],
        template_mask,
        np.arange(5, 0, -1, dtype=np.float32)[:, None],
    )
    deletions = rng.integers(0, 3, msa.shape).astype(np.int32)
    target = Target(positions, mask, resolution=1.9)
    return Protein("1abc_A", sequence, Alignment(msa, deletions), templates, target)


CONFIG = DataConfig(crop_size=12, max_msa_clusters=6, max_extra_msa=5, max_recycling=2)


def test_examples_have_every_feature_of_the_schema(protein):
    for example in (
        training_example(protein, CONFIG, seed=1, sample=0),
        evaluation_example(protein, CONFIG),
    ):
        features = example.features
        assert set(features) == set(AXES)
        sizes = {
            RESIDUES: len(features["aatype"]),
            TEMPLATES: len(features["template_mask"]),
            CLUSTERS: len(features["msa_mask"]),
            EXTRA: len(features["extra_msa"]),
        }
        passes = features["aatype"].shape[-1]
        for name, value in features.items():
            shape = tuple(sizes.get(axis, axis) for axis in AXES[name])
            assert value.shape == (*shape, passes), name
            assert value.dtype in (np.float32, np.int64), name
            assert np.isfinite(value).all(), name
            drawn_anew = {CLUSTERS, EXTRA} & set(AXES[name])
            assert drawn_anew or value.strides[-1] == 0, name
        assert (features["no_recycling_iters"] == passes - 1).all()
        assert (features["seq_length"] == sizes[RESIDUES]).all()
        assert features["resolution"][0] == np.float32(1.9)


def test_a_sample_is_a_function_of_seed_and_number(protein):
    once = training_example(protein, CONFIG, seed=3, sample=7).features
    training_example(protein, CONFIG, seed=3, sample=8)
    again = training_example(protein, CONFIG, seed=3, sample=7).features
    for name, value in once.items():
        assert value.tobytes() == again[name].tobytes(), name
    other = training_example(protein, CONFIG, seed=4, sample=7).features
    assert any(
        once[name].shape != other[name].shape or (once[name] != other[name]).any() for name in once
    )


def test_crops_cut_all_features_at_the_same_residues(protein):
    whole = evaluation_example(protein, CONFIG).features
    assert whole["aatype"].shape == (LENGTH, 3)
    starts = set()
    for sample in range(20):
        cropped = training_example(protein, CONFIG, seed=0, sample=sample).features
        start = int(cropped["residue_index"][0, 0])
        starts.add(start)
        assert cropped["aatype"].shape[0] == 12
        for name, axes in AXES.items():
            if axes[:1] == (RESIDUES,):
                expected = whole[name][start : start + 12, ..., 0]
                assert np.array_equal(cropped[name][..., 0], expected), name
        rows = {tuple(row) for row in protein.alignment.msa[:, start : start + 12]}
        for turn in range(cropped["true_msa"].shape[-1]):
            assert {tuple(row) for row in cropped["true_msa"][..., turn]} <= rows
            real = cropped["extra_msa_row_mask"][:, turn] > 0
            assert {tuple(row) for row in cropped["extra_msa"][real, :, turn]} <= rows
            query = protein.alignment.msa[0, start : start + 12]
            assert np.array_equal(cropped["true_msa"][0, :, turn], query)
    assert len(starts) > 5


def test_training_draws_passes_clamping_and_templates(protein):
    examples = [training_example(protein, CONFIG, seed=0, sample=k).features for k in range(150)]
    passes = np.bincount([one["aatype"].shape[-1] for one in examples], minlength=4)
    assert passes[0] == 0
    assert passes[1:].min() > 30
    clamped = np.mean([one["use_clamped_fape"][0] for one in examples])
    assert 0.8 < clamped < 0.98
    templates = [int(one["template_mask"][:, 0].sum()) for one in examples]
    assert set(templates) == {0, 1, 2, 3, 4}
    assert all(
        len(one["template_mask"]) == max(n, 1) for one, n in zip(examples, templates, strict=True)
    )


def test_passes_see_different_rows_and_the_same_structure(protein):
    features = evaluation_example(protein, CONFIG).features
    assert (features["true_msa"][..., 0] != features["true_msa"][..., 1]).any()
    assert (features["bert_mask"][..., 0] != features["bert_mask"][..., 1]).any()
    positions = features["all_atom_positions"]
    assert np.array_equal(positions[..., 0], positions[..., 1])


def test_evaluation_is_the_same_every_time(protein):
    once, again = (evaluation_example(protein, CONFIG).features for _ in range(2))
    for name, value in once.items():
        assert value.tobytes() == again[name].tobytes(), name
    assert once["template_sum_probs"][:, 0, 0].tolist() == [5, 4, 3, 2]
    assert (once["use_clamped_fape"] == 1).all()
    part = evaluation_example(protein, CONFIG, crop_size=4).features
    assert part["residue_index"][:, 0].tolist() == [0, 1, 2, 3]


def test_fixed_sizes_pad_with_masked_zeros(protein):
    settings = {"crop_size": 40, "max_msa_clusters": 30, "max_extra_msa": 7}
    config = DataConfig(**settings, deletion_blocks=0, fixed_size=True)
    features = training_example(protein, config, seed=0, sample=0).features
    assert features["msa_feat"].shape[:3] == (30, 40, 49)
    assert features["extra_msa"].shape[:2] == (7, 40)
    assert features["template_aatype"].shape[:2] == (4, 40)
    assert features["all_atom_positions"].shape[:3] == (40, 37, 3)
    assert features["seq_mask"][:, 0].tolist() == [1.0] * LENGTH + [0.0] * 10
    assert (features["seq_length"] == LENGTH).all()
    assert features["msa_mask"].sum(axis=(0, 1)).tolist() == [ROWS * LENGTH] * len(
        features["seq_length"]
    )
    ragged = training_example(
        protein, DataConfig(**settings, deletion_blocks=0), seed=0, sample=0
    ).features
    for name, value in ragged.items():
        inside = tuple(slice(size) for size in value.shape)
        assert np.array_equal(features[name][inside], value), name


def test_distillation_examples_say_so(protein):
    target = Target(protein.target.positions, protein.target.mask, is_distillation=True)
    distilled = Protein("x", protein.sequence, protein.alignment, protein.templates, target)
    config = DataConfig(max_msa_clusters=6, max_distillation_msa=9, deletion_blocks=0)
    features = training_example(distilled, config, seed=0, sample=0).features
    assert (features["is_distillation"] == 1).all()
    assert (features["resolution"] == 0).all()
    assert len(features["extra_msa"]) == 3


def test_a_bare_sequence_gives_the_features_of_a_prediction():
    features = evaluation_example(sequence_protein("q", "ARNDX", CONFIG), CONFIG).features
    assert features["aatype"][:, 0].tolist() == [0, 1, 2, 3, 20]
    assert features["true_msa"].shape == (1, 5, 3)
    assert not any("_gt_" in name or name.startswith("all_atom") for name in features)
    assert not features["template_mask"].any()
    assert "resolution" not in features
