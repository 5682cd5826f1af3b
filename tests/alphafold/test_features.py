"""OpenFold's own features go straight into the network and the loss, and mean the same there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from sci_memeff import chemistry
from sci_memeff.alphafold.features import check_features, feature_names, one_pass
from sci_memeff.alphafold.losses import AlphaFoldLoss, LossConfig
from sci_memeff.alphafold.model import AlphaFold
from sci_memeff.errors import BadDataError

from .networks import SMALL

N, S, E, T, R = 11, 4, 5, 4, 2  # residues, MSA rows, extra rows, templates, passes
REAL = {"n": 9, "s": 4, "e": 3, "t": 2}  # what is no padding
SIZES = {"n": N, "s": S, "e": E, "t": T}
SEQUENCE = [4, 7, 14, 5, 20, 13, 3, 18, 9]  # C G P Q X F D Y I

# OpenFold's names, shapes and kinds (the `feat` table of its config): m a mask, i whole numbers,
# f floats, a sines and cosines, r frames. Its collation puts the batch before and the passes after.
LAYOUT = {
    "aatype": "i n",
    "all_atom_mask": "m n 37",
    "all_atom_positions": "f n 37 3",
    "alt_chi_angles": "f n 4",
    "atom14_alt_gt_exists": "m n 14",
    "atom14_alt_gt_positions": "f n 14 3",
    "atom14_atom_exists": "m n 14",
    "atom14_atom_is_ambiguous": "m n 14",
    "atom14_gt_exists": "m n 14",
    "atom14_gt_positions": "f n 14 3",
    "atom37_atom_exists": "m n 37",
    "backbone_rigid_mask": "m n",
    "backbone_rigid_tensor": "r n 4 4",
    "bert_mask": "m s n",
    "chi_angles_sin_cos": "a n 4 2",
    "chi_mask": "m n 4",
    "extra_deletion_value": "f e n",
    "extra_has_deletion": "m e n",
    "extra_msa": "i e n",
    "extra_msa_mask": "m e n",
    "extra_msa_row_mask": "m e",
    "is_distillation": "i",
    "msa_feat": "f s n 49",
    "msa_mask": "m s n",
    "msa_row_mask": "m s",
    "no_recycling_iters": "i",
    "pseudo_beta": "f n 3",
    "pseudo_beta_mask": "m n",
    "residue_index": "i n",
    "residx_atom14_to_atom37": "i n 14",
    "residx_atom37_to_atom14": "i n 37",
    "resolution": "f",
    "rigidgroups_alt_gt_frames": "r n 8 4 4",
    "rigidgroups_group_exists": "m n 8",
    "rigidgroups_group_is_ambiguous": "m n 8",
    "rigidgroups_gt_exists": "m n 8",
    "rigidgroups_gt_frames": "r n 8 4 4",
    "seq_length": "i",
    "seq_mask": "m n",
    "target_feat": "f n 22",
    "template_aatype": "i t n",
    "template_all_atom_mask": "m t n 37",
    "template_all_atom_positions": "f t n 37 3",
    "template_alt_torsion_angles_sin_cos": "a t n 7 2",
    "template_mask": "m t",
    "template_pseudo_beta": "f t n 3",
    "template_pseudo_beta_mask": "m t n",
    "template_sum_probs": "f t 1",
    "template_torsion_angles_mask": "m t n 7",
    "template_torsion_angles_sin_cos": "a t n 7 2",
    "true_msa": "i s n",
    "use_clamped_fape": "f",
    "batch_idx": "i",
}
LETTERS = {"template_aatype": 22, "extra_msa": 23, "true_msa": 22}
TABLES = {
    "atom14_atom_exists": chemistry.ATOM14_MASK,
    "atom37_atom_exists": chemistry.ATOM37_MASK,
    "atom14_atom_is_ambiguous": chemistry.ATOM14_AMBIGUOUS,
    "residx_atom14_to_atom37": chemistry.ATOM14_TO_ATOM37,
    "residx_atom37_to_atom14": chemistry.ATOM37_TO_ATOM14,
    "rigidgroups_group_exists": chemistry.GROUP_EXISTS,
    "rigidgroups_group_is_ambiguous": chemistry.GROUP_AMBIGUOUS,
}
EVERY_PASS_ANEW = ("msa", "extra", "bert", "true")
SPREAD = 8.0  # Å


def openfold_batch(clamped: float = 1.0) -> dict[str, Tensor]:
    """A batch of one as OpenFold collates it: padded with zeros, float32 and int64."""
    rng = np.random.default_rng(7)
    batch = {}
    for name, layout in LAYOUT.items():
        draws = [_drawn(rng, name, layout) for _ in range(R)]
        passes = draws if name.startswith(EVERY_PASS_ANEW) else draws[:1] * R
        batch[name] = torch.tensor(np.stack(passes, axis=-1))[None]
    chosen = {
        "aatype": np.array([*SEQUENCE, 0, 0]),
        "residue_index": np.array([3, 4, 5, 6, 9, 10, 11, 12, 13, 0, 0]),
        "seq_mask": np.arange(N, dtype=np.float32) < REAL["n"],
        "seq_length": np.array(REAL["n"]),
        "template_mask": np.arange(T, dtype=np.float32) < REAL["t"],
        "resolution": np.array(2.1, np.float32),
        "use_clamped_fape": np.array(clamped, np.float32),
    }
    for name, table in TABLES.items():
        rows = table[SEQUENCE]
        chosen[name] = np.concatenate([rows, np.zeros((N - len(rows), *rows.shape[1:]))])
    for name, values in chosen.items():
        own = torch.tensor(values).to(batch[name].dtype)
        batch[name] = own[None, ..., None].expand(1, *own.shape, R).clone()
    return batch


def _drawn(rng: np.random.Generator, name: str, layout: str) -> np.ndarray:
    kind, *axes = layout.split()
    shape = [SIZES.get(axis) or int(axis) for axis in axes]
    if kind == "i":
        values = rng.integers(0, LETTERS.get(name, 1), shape)
    elif kind == "m":
        values = (rng.random(shape) < 0.75).astype(np.float32)
        assert values.size < 9 or set(values.ravel()) == {0.0, 1.0}, name
    else:
        values = rng.normal(size=shape)
        values = SPREAD * values if "positions" in name or "pseudo_beta" in name else values
        values = values / np.linalg.norm(values, axis=-1, keepdims=True) if kind == "a" else values
        values = (_frames(values) if kind == "r" else values).astype(np.float32)
    for k, axis in enumerate(axes):
        if axis in REAL:
            values[(slice(None),) * k + (slice(REAL[axis], None),)] = 0
    return values


def _frames(noise: np.ndarray) -> np.ndarray:
    rotation = np.linalg.qr(noise[..., :3, :3])[0]
    rotation = rotation * np.sign(np.linalg.det(rotation))[..., None, None]
    frames = np.zeros_like(noise)
    frames[..., :3, :3], frames[..., :3, 3] = rotation, SPREAD * noise[..., :3, 3]
    frames[..., 3, 3] = 1
    return frames


@pytest.fixture(scope="module")
def model() -> AlphaFold:
    """Weights from numpy's generator, so that they are the same for whoever draws them."""
    rng = np.random.default_rng(3)
    model = AlphaFold(SMALL).double().eval()
    with torch.no_grad():
        for name in sorted(dict(model.named_parameters())):
            parameter = model.get_parameter(name)
            noise = torch.tensor(rng.normal(size=parameter.shape))
            if parameter.ndim > 1:
                parameter.copy_(noise * parameter.shape[-1] ** -0.5)
            else:
                parameter.add_(0.2 * noise)
    return model


def loss_and_terms(model: AlphaFold, batch: dict[str, Tensor]) -> dict[str, float]:
    total, terms = AlphaFoldLoss(LossConfig.finetuning().with_ptm())(
        model(batch), {name: x[..., -1] for name, x in batch.items()}
    )
    return {"total": float(total.detach())} | {name: float(term) for name, term in terms.items()}


# What OpenFold 1.0.1's AlphaFold and AlphaFoldLoss (finetuning_ptm) make of these features with
# these weights, with AlphaFold's correction of 2025-09-23 to the angle CA-C-N put into its loss.
OPENFOLD = {
    "fape": 0.915390683,
    "supervised_chi": 0.986639144,
    "distogram": 201.055552,
    "masked_msa": 5.88622509,
    "plddt": 3.76397125,
    "experimentally_resolved": 1.45392421,
    "violation": 35.8452408,
    "tm": 65.0964237,
    "total": 349.194623,
}
OPENFOLD_UNCLAMPED = OPENFOLD | {"fape": 1.70738429, "total": 351.570604}


@pytest.mark.parametrize(("clamped", "found"), [(1.0, OPENFOLD), (0.0, OPENFOLD_UNCLAMPED)])
def test_same_features_and_weights_have_openfold_s_loss(model, clamped, found):
    # OpenFold turns its frames in float32 whatever the model's dtype.
    assert loss_and_terms(model, openfold_batch(clamped)) == pytest.approx(found, rel=1e-7)


def test_every_kind_is_there():
    batch = openfold_batch()
    assert {x.dtype for x in batch.values()} == {torch.float32, torch.int64}
    assert all(x.shape[0] == 1 and x.shape[-1] == R for x in batch.values())
    assert not torch.equal(batch["msa_feat"][..., 0], batch["msa_feat"][..., 1])
    assert set(feature_names(SMALL)) < set(batch)


@pytest.mark.parametrize("passes", [1, 2])
def test_what_is_not_read_is_left_alone(model, passes):
    batch = {name: x[..., -passes:] for name, x in openfold_batch().items()}
    read = {name: batch[name] for name in feature_names(SMALL)}
    strange = read | {"batch_idx": torch.tensor(4), "domain_name": "1abc_A"}
    plain, other = model(read), model(strange)
    assert torch.equal(plain["final_atom_positions"], other["final_atom_positions"])


def test_padding_lies_at_the_origin(model):
    batch = openfold_batch()
    positions = model(batch)["final_atom_positions"]
    assert not positions[:, REAL["n"] :].any()
    assert positions[:, : REAL["n"]].any()


def test_whole_numbers_may_be_narrow(model):
    batch = openfold_batch()
    narrow = {n: x if x.is_floating_point() else x.int() for n, x in batch.items()}
    assert loss_and_terms(model, narrow) == loss_and_terms(model, batch)


def test_masks_may_be_bool(model):
    batch = openfold_batch()
    masks = [name for name in LAYOUT if name.endswith(("mask", "exists", "ambiguous"))]
    logical = batch | {name: batch[name].bool() for name in masks}
    expected = loss_and_terms(model, batch)
    assert loss_and_terms(model, logical) == pytest.approx(expected, rel=1e-6)


def test_the_answer_has_the_weights_dtype(model):
    batch = openfold_batch()
    single = AlphaFold(SMALL).eval()
    single.load_state_dict(model.state_dict())
    half = AlphaFold(SMALL).bfloat16().eval()
    half.load_state_dict(model.state_dict())
    wanted, found, low = (one(batch) for one in (model, single, half))
    assert wanted["pair"].dtype == torch.float64
    assert found["pair"].dtype == torch.float32
    assert low["pair"].dtype == torch.bfloat16
    for out, tolerance in ((found, 1e-4), (low, 0.2)):
        assert out["final_atom_positions"].dtype == torch.float32
        error = (out["single"] - wanted["single"])[:, : REAL["n"]].norm()
        assert error < tolerance * wanted["single"][:, : REAL["n"]].norm()


def test_a_loss_that_does_not_clamp_by_sample(model):
    batch = openfold_batch()
    expected = loss_and_terms(model, batch)
    del batch["use_clamped_fape"]
    assert loss_and_terms(model, batch) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"msa_mask": None}, "reads msa_mask, and the batch has no such feature"),
        ({"template_mask": None, "template_aatype": None}, "reads template_mask, template_aatype"),
        ({"seq_mask": torch.ones(1, N, 3)}, r"aatype \(1, 11, 2\) and seq_mask \(1, 11, 3\) do"),
        ({"seq_mask": torch.tensor(1.0)}, r"seq_mask \(\) do not end with the same number"),
    ],
)
def test_features_that_cannot_be_read(model, change, message):
    batch = {name: x for name, x in (openfold_batch() | change).items() if x is not None}
    with pytest.raises(BadDataError, match=f"features: .*{message}") as caught:
        model(batch)
    mends = r"mend: (make them with sci_memeff.make_batch or|give every feature a last dimension)"
    assert caught.match(mends)


def test_a_network_reads_no_more_than_it_needs():
    names = feature_names(replace(SMALL, template_torsions=False))
    assert "template_aatype" in names
    assert not any("torsion" in name for name in names)
    names = feature_names(replace(SMALL, templates=False))
    assert not any("template" in name for name in names)
    batch = openfold_batch()
    assert check_features(batch, names) == R
    assert one_pass(batch, names, 1).keys() == set(names)


@pytest.mark.parametrize("name", ["chi_mask", "rigidgroups_gt_frames", "seq_length"])
def test_a_loss_without_the_structure_says_what_it_lacks(model, name):
    batch = openfold_batch()
    del batch[name]
    with pytest.raises(BadDataError, match=rf"(?s)loss reads {name}, .*mend: .*known structure"):
        loss_and_terms(model, batch)
