from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from sci_memeff.alphafold.config import ModelConfig
from sci_memeff.alphafold.model import AlphaFold, _hand_on

from .networks import SMALL, random_batch, redrawn

N, S = 7, 4


@pytest.fixture(scope="module")
def model() -> AlphaFold:
    return redrawn(AlphaFold(SMALL))


def flat(outputs: dict) -> dict[str, Tensor]:
    rest = {name: value for name, value in outputs.items() if name != "sm"}
    return rest | {f"sm.{name}": value for name, value in outputs["sm"].items()}


def close(a: Tensor, b: Tensor) -> None:
    scale = max(1.0, b.abs().max().item())
    torch.testing.assert_close(a, b, rtol=0, atol=1e-9 * scale)


def assert_same(a: dict, b: dict) -> None:
    first, second = flat(a), flat(b)
    assert first.keys() == second.keys()
    for name, value in first.items():
        close(value, second[name])


def one_pass(batch: dict[str, Tensor], i: int) -> dict[str, Tensor]:
    return {name: x[..., i : i + 1] for name, x in batch.items()}


def test_outputs(model):
    b, steps = 2, SMALL.num_structure_iterations
    batch = random_batch(b, N, passes=2)
    out = model(batch)
    assert {name: tuple(x.shape) for name, x in flat(out).items()} == {
        "msa": (b, S, N, SMALL.c_m),
        "pair": (b, N, N, SMALL.c_z),
        "single": (b, N, SMALL.c_s),
        "sm.frames": (steps, b, N, 4, 4),
        "sm.angles": (steps, b, N, 7, 2),
        "sm.unnormalized_angles": (steps, b, N, 7, 2),
        "sm.sidechain_frames": (b, N, 8, 4, 4),
        "sm.positions": (b, N, 14, 3),
        "sm.states": (b, N, SMALL.c_s),
        "final_atom_positions": (b, N, 37, 3),
        "final_atom_mask": (b, N, 37),
        "distogram_logits": (b, N, N, 64),
        "masked_msa_logits": (b, S, N, 23),
        "lddt_logits": (b, N, 50),
        "experimentally_resolved_logits": (b, N, 37),
        "tm_logits": (b, N, N, 64),
        "plddt": (b, N),
        "predicted_aligned_error": (b, N, N),
        "ptm": (b,),
    }
    assert all(x.isfinite().all() for x in flat(out).values())
    assert torch.equal(out["final_atom_mask"], batch["atom37_atom_exists"][..., -1])
    assert ((out["plddt"] >= 0) & (out["plddt"] <= 100)).all()


@pytest.mark.parametrize(
    ("change", "absent"),
    [
        ({"ptm": False}, {"tm_logits", "predicted_aligned_error", "ptm"}),
        ({"templates": False}, set()),
        ({"template_torsions": False}, set()),
        ({"template_unit_vectors": True}, set()),
    ],
)
def test_other_networks(model, change, absent):
    config: ModelConfig = replace(SMALL, **change)
    other = redrawn(AlphaFold(config))
    batch = random_batch(1, N)
    if not config.templates:
        batch = {k: v for k, v in batch.items() if not k.startswith("template_")}
    out = other(batch)
    assert flat(model(random_batch(1, N))).keys() - flat(out).keys() == absent
    assert out["msa"].shape[-3] == S


def test_published_is_the_default():
    with torch.device("meta"):
        assert AlphaFold().config == ModelConfig()


# Recycling


def test_one_pass_is_the_first_pass(model):
    batch = random_batch(1, N, passes=3)
    features = {name: x[..., 0] for name, x in batch.items()}
    out = model(one_pass(batch, 0))
    for name, value in flat(model.fold(features, None)).items():
        close(flat(out)[name], value)


def test_passes_hand_on_the_first_row_the_pairs_and_the_atoms(model):
    batch = random_batch(1, N, passes=3)
    seen = []
    hook = model.recycling_embedder.register_forward_pre_hook(lambda _, given: seen.append(given))
    out = model(batch)
    hook.remove()
    assert len(seen) == 3
    assert not any(x.any() for x in seen[0])
    for i in (1, 2):
        before = model({name: x[..., :i] for name, x in batch.items()})
        m_first, z, pseudo_beta = seen[i]
        close(m_first, before["msa"][..., 0, :, :])
        close(z, before["pair"])
        atoms = before["final_atom_positions"]
        glycine = (batch["aatype"][..., i] == 7)[..., None]
        close(pseudo_beta, torch.where(glycine, atoms[..., 1, :], atoms[..., 3, :]))
        assert not m_first.requires_grad
    assert not torch.allclose(out["pair"], model(one_pass(batch, 2))["pair"])


def test_only_the_last_pass_has_a_gradient(model):
    batch = random_batch(1, N, passes=3)
    batch["msa_feat"] = batch["msa_feat"].clone().requires_grad_()
    out = model(batch)
    total = out["pair"].sum() + out["distogram_logits"].sum()
    parameters = dict(model.named_parameters())
    found = torch.autograd.grad(total, [batch["msa_feat"], *parameters.values()], allow_unused=True)
    assert found[0][..., -1].abs().max() > 0
    assert not found[0][..., :-1].any()

    # The parameters' gradients are those of the last pass with what came before held fixed.
    features = [{name: x[..., i].detach() for name, x in batch.items()} for i in range(3)]
    previous = None
    with torch.no_grad():
        for i in range(2):
            previous = _hand_on(model.fold(features[i], previous))
    last = model.fold(features[2], previous)
    logits = model.aux_heads(last["msa"], last["pair"], last["single"], last["sm"]["states"])
    wanted = torch.autograd.grad(
        last["pair"].sum() + logits["distogram_logits"].sum(),
        list(parameters.values()),
        allow_unused=True,
    )
    for a, b in zip(found[1:], wanted, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            close(a, b)


def test_without_gradients_there_are_none(model):
    with torch.no_grad():
        assert not any(x.requires_grad for x in flat(model(random_batch(1, N))).values())
    out = model(random_batch(1, N))
    confidences = ("plddt", "ptm", "predicted_aligned_error")
    assert not any(out[name].requires_grad for name in confidences)


def test_leaves_the_features_alone(model):
    batch = random_batch(1, N, passes=2)
    before = {name: x.clone() for name, x in batch.items()}
    model(batch)
    assert all(torch.equal(x, batch[name]) for name, x in before.items())


# Batches, padding


def test_a_batch_of_two_is_two_batches_of_one(model):
    batch = random_batch(2, N, passes=2)
    batch["template_mask"] = batch["template_mask"].clone()
    batch["template_mask"][1] = 0
    both = model(batch)
    for i in range(2):
        single = model({name: x[i : i + 1] for name, x in batch.items()})
        for name, value in flat(single).items():
            dim = 1 if name in ("sm.frames", "sm.angles", "sm.unnormalized_angles") else 0
            close(flat(both)[name].narrow(dim, i, 1), value)


def test_no_batch_dimension_does_as_well(model):
    batch = random_batch(1, N, passes=2)
    single = model({name: x[0] for name, x in batch.items()})
    both = flat(model(batch))
    for name, value in flat(single).items():
        close(both[name].reshape(value.shape), value)


def padded(batch: dict[str, Tensor], residues: int, rows: int) -> dict[str, Tensor]:
    """With more residues, MSA rows and templates, all masked and the rest of them noise."""
    g = torch.Generator().manual_seed(9)

    def lengthened(x: Tensor, name: str, dim: int, extra: int) -> Tensor:
        noise = torch.zeros(*x.shape[:dim], extra, *x.shape[dim + 1 :], dtype=x.dtype)
        if x.is_floating_point() and not name.endswith("mask"):
            noise.normal_(generator=g)
        return torch.cat([x, noise], dim=dim)

    grown = {}
    for name, x in batch.items():
        has_rows = name.startswith(("msa", "extra", "template"))
        x = lengthened(x, name, 1, rows) if has_rows else x
        has_residues = name != "template_mask"
        grown[name] = lengthened(x, name, 2 if has_rows else 1, residues) if has_residues else x
    return grown


def test_padding_has_no_influence(model):
    batch = random_batch(1, N, passes=2)
    plain, grown = flat(model(batch)), flat(model(padded(batch, 3, 2)))
    valid = batch["seq_mask"][0, :, 0].bool()
    n = int(valid.sum())
    assert valid[:n].all()
    for name in ("final_atom_positions", "plddt", "single", "sm.states", "lddt_logits"):
        close(grown[name][:, :n], plain[name][:, :n])
    for name in ("pair", "distogram_logits", "tm_logits", "predicted_aligned_error"):
        close(grown[name][:, :n, :n], plain[name][:, :n, :n])
    rows = batch["msa_mask"][0, :, :n, -1].bool()
    close(grown["msa"][0, :S, :n][rows], plain["msa"][0, :, :n][rows])


def test_what_is_not_masked_has_influence(model):
    batch = random_batch(1, N, passes=1)
    plain = model(batch)["final_atom_positions"]
    for name in (
        "aatype",
        "residue_index",
        "target_feat",
        "msa_feat",
        "msa_mask",
        "extra_msa",
        "extra_has_deletion",
        "extra_deletion_value",
        "extra_msa_mask",
        "template_mask",
        "template_aatype",
        "template_pseudo_beta",
        "template_pseudo_beta_mask",
        "template_all_atom_mask",
        "template_torsion_angles_sin_cos",
        "template_alt_torsion_angles_sin_cos",
        "template_torsion_angles_mask",
    ):
        changed = dict(batch)
        x = batch[name]
        changed[name] = 1 - x if name.endswith("mask") else x * 0
        assert not torch.allclose(model(changed)["final_atom_positions"], plain), name


# At the start


def test_at_the_start_the_answer_is_know_nothing():
    torch.manual_seed(0)
    model = AlphaFold(SMALL).eval()
    batch = {
        name: x.float() if x.is_floating_point() else x
        for name, x in random_batch(1, N, passes=2).items()
    }
    out = model(batch)
    for name in (
        "lddt_logits",
        "distogram_logits",
        "masked_msa_logits",
        "experimentally_resolved_logits",
        "tm_logits",
    ):
        assert not out[name].any(), name
    torch.testing.assert_close(out["plddt"], torch.full((1, N), 50.0))
    assert not out["final_atom_positions"][..., 1, :].any()  # every Cα at the origin
    assert torch.equal(out["sm"]["frames"], torch.eye(4).expand_as(out["sm"]["frames"]))
    for name in ("msa", "pair", "single"):
        assert 0.1 < out[name].std() < 10, name
    unfinished = [n for n, p in model.named_parameters() if not p.isfinite().all()]
    assert unfinished == []


def test_the_first_step_moves_every_part():
    """From the initial weights a gradient reaches the last layers, and after a step all others."""
    torch.manual_seed(0)
    model = AlphaFold(SMALL).double()
    batch = random_batch(1, N, passes=2)
    batch["template_mask"] = torch.ones_like(batch["template_mask"])
    parts: set[str] = set()
    for _ in range(3):
        out = model(batch)
        g = torch.Generator().manual_seed(1)
        total = sum(
            (x * torch.randn(x.shape, generator=g, dtype=x.dtype)).sum()
            for x in flat(out).values()
            if x.requires_grad
        )
        model.zero_grad()
        total.backward()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.grad is not None and parameter.grad.any():
                    parts.add(name)
                    parameter -= 1e-2 * parameter.grad / parameter.grad.norm()
    silent = {name for name, _ in model.named_parameters()} - parts
    # Residues are still so near each other that their distances are in no bin.
    silent.remove("recycling_embedder.linear.weight")
    # This bias moves all logits of a head alike, and so no attention.
    assert {name for name in silent if not name.endswith("layer_norm_z.bias")} == set()


def test_autocast_keeps_the_answer_near():
    batch = {
        name: x.float() if x.is_floating_point() else x for name, x in random_batch(1, N).items()
    }
    model = redrawn(AlphaFold(SMALL)).float()
    plain = model(batch)
    with torch.autocast("cpu", torch.bfloat16):
        out = model(batch)
    assert out["final_atom_positions"].dtype == torch.float32
    assert out["sm"]["frames"].dtype == torch.float32
    assert all(x.isfinite().all() for x in flat(out).values())
    for name in ("msa", "single"):
        valid = batch["seq_mask"][0, :, 0].bool()
        error = (out[name].float() - plain[name])[..., valid, :].norm()
        assert error < 0.1 * plain[name][..., valid, :].norm(), name
