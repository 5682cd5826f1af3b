from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_map

from sci_memeff.alphafold.losses import AlphaFoldLoss, LossConfig
from sci_memeff.errors import BadConfigError

from ..slices import Slices
from .structures import example

EVERY_TERM = LossConfig.finetuning().with_ptm()
TERMS = list(EVERY_TERM.weights)
LETTERS = "ADFPYECG"


def only(term: str) -> LossConfig:
    return replace(LossConfig(), **{f"{name}_weight": float(name == term) for name in TERMS})


def leaves(out: dict) -> list[Tensor]:
    return [value for key, value in out.items() if key != "sm"] + list(out["sm"].values())


def losses_and_gradients(loss: nn.Module, out: dict, batch: dict) -> list[Tensor]:
    total, terms = loss(out, batch)
    gradients = torch.autograd.grad(total, leaves(out), allow_unused=True)
    return [total, *terms.values(), *(g for g in gradients if g is not None)]


def stacked(samples: list[tuple[dict, dict]]) -> tuple[dict, dict]:
    """A batch of some examples; the structure module's iterations stay the first dimension."""
    outs, batches = zip(*samples, strict=True)
    iterated = ("frames", "angles", "unnormalized_angles")
    sm = {
        key: torch.stack([out["sm"][key] for out in outs], dim=1 if key in iterated else 0)
        for key in outs[0]["sm"]
    }
    out = {key: torch.stack([o[key] for o in outs]) for key in outs[0] if key != "sm"}
    return out | {"sm": sm}, {k: torch.stack([b[k] for b in batches]) for k in batches[0]}


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_slices_equal_the_whole(term, size):
    out, batch = stacked([example(LETTERS, seed, num_sequences=9) for seed in (0, 1)])
    loss = AlphaFoldLoss(only(term))
    expected = losses_and_gradients(loss, out, batch)
    walks = {}
    for name, module in loss.named_modules():
        if hasattr(module, "walk"):
            module.walk = walks[name] = Slices(size)
    found = losses_and_gradients(loss, out, batch)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)
    used = {name: walk.count for name, walk in walks.items() if walk.count}
    fewest = 1 if size > 100 else 2
    assert used
    assert all(count >= fewest for count in used.values())
    own = {"fape": {"renaming", "backbone_error", "sidechain_error"}}
    own |= {"supervised_chi": {"torsion"}, "tm": {"aligned_error"}}
    assert set(used) == own.get(term, {term})


def test_a_slice_that_looks_beyond_its_rows_is_found_out():
    """Proof that the test above can fail: a row function that compares rows with one another."""
    out, batch = example(LETTERS, 0)
    loss = AlphaFoldLoss(only("masked_msa"))
    rows = loss.masked_msa.rows
    expected = loss(out, batch)[0]

    class Peeking(nn.Module):
        def rows(self, *some: Tensor) -> Tensor:
            return rows(*some) - rows(*some).mean()

    peeking = Peeking()
    loss.masked_msa.walk = lambda fn, **how: Slices(2)(peeking.rows, **how)
    assert (loss(out, batch)[0] - expected).abs() > 1e-3


@pytest.mark.parametrize("term", TERMS)
def test_gradients_are_those_of_finite_differences(term):
    out, batch = example("DPCF", seed=3, num_sequences=2, num_iterations=2)
    loss = AlphaFoldLoss(only(term))
    used = [
        (key, value)
        for key, value in [*((k, v) for k, v in out.items() if k != "sm"), *out["sm"].items()]
        if torch.autograd.grad(loss(out, batch)[0], value, allow_unused=True)[0] is not None
    ]
    assert used

    def of(*values: Tensor) -> Tensor:
        given = dict(zip([key for key, _ in used], values, strict=True))
        structure = {key: given.get(key, value) for key, value in out["sm"].items()}
        others = {key: given.get(key, value) for key, value in out.items() if key != "sm"}
        return loss(others | {"sm": structure}, batch)[0]

    assert torch.autograd.gradcheck(of, tuple(value for _, value in used), fast_mode=True)


def test_total_is_the_weighted_sum_times_the_root_of_the_length():
    out, batch = example(LETTERS, 0)
    total, terms = AlphaFoldLoss(EVERY_TERM)(out, batch)
    assert list(terms) == TERMS
    assert not any(term.requires_grad for term in terms.values())
    weighted = sum(EVERY_TERM.weights[name] * float(term) for name, term in terms.items())
    assert float(total.detach()) == pytest.approx(weighted * len(LETTERS) ** 0.5)
    for length, counted in [(5, 5), (800, len(LETTERS))]:
        batch["seq_length"] = torch.tensor(length)
        found = AlphaFoldLoss(EVERY_TERM)(out, batch)[0].detach()
        assert float(found) == pytest.approx(weighted * counted**0.5)


def test_a_batch_is_the_mean_of_its_samples():
    samples = [example(LETTERS, 0), example("YYKPDEEG", 1)]
    for (_, batch), length, resolution, clamped in zip(
        samples, (8, 3), (2.0, 5.0), (1.0, 0.0), strict=True
    ):
        batch["seq_length"] = torch.tensor(length)
        batch["resolution"] = torch.tensor(resolution)
        batch["use_clamped_fape"] = torch.tensor(clamped).double()
    loss = AlphaFoldLoss(EVERY_TERM)
    singles = [loss(*sample) for sample in samples]
    total, terms = loss(*stacked(samples))
    torch.testing.assert_close(total, (singles[0][0] + singles[1][0]) / 2)
    for name, term in terms.items():
        torch.testing.assert_close(term, (singles[0][1][name] + singles[1][1][name]) / 2)


def test_terms_of_weight_zero_are_left_alone():
    out, batch = example(LETTERS, 0)
    del out["tm_logits"], out["experimentally_resolved_logits"]
    _, terms = AlphaFoldLoss()(out, batch)
    assert list(terms) == ["fape", "supervised_chi", "distogram", "masked_msa", "plddt"]


def test_aligned_errors_that_nobody_predicts():
    out, batch = example(LETTERS, 0)
    del out["tm_logits"]
    with pytest.raises(BadConfigError, match=r"by 0\.1, but the model predicts none") as caught:
        AlphaFoldLoss(LossConfig().with_ptm())(out, batch)
    assert caught.match("mend: set tm_weight=0, or give the model its head with ptm=True")


@pytest.mark.parametrize("term", ["plddt", "experimentally_resolved", "tm"])
@pytest.mark.parametrize("resolution", [0.0, 0.05, 3.5])
def test_confidence_is_learned_from_good_structures_only(term, resolution):
    out, batch = example(LETTERS, 0)
    loss = AlphaFoldLoss(only(term))
    assert loss(out, batch)[0] > 0.1
    assert loss(out, batch | {"resolution": torch.tensor(resolution)})[0] == 0.0


def test_a_nan_is_not_hidden():
    out, batch = example(LETTERS, 0)
    with torch.no_grad():
        out["sm"]["frames"][-1, 2] = float("nan")
        out["sm"]["positions"][3] = float("nan")
        out["final_atom_positions"][1] = float("nan")
    total, terms = AlphaFoldLoss(EVERY_TERM)(out, batch)
    assert total.isnan()
    assert terms["fape"].isnan()
    assert terms["masked_msa"].isfinite()


def test_has_no_parameters_and_no_state():
    loss = AlphaFoldLoss(EVERY_TERM)
    assert not list(loss.parameters())
    assert not loss.state_dict()


def test_autocast_leaves_positions_alone():
    out, batch = example(LETTERS, 0, dtype=torch.float32)
    batch = {k: v.float() if v.is_floating_point() else v for k, v in batch.items()}
    loss = AlphaFoldLoss(EVERY_TERM)
    plain = losses_and_gradients(loss, out, batch)
    with torch.autocast("cpu", torch.bfloat16):
        lowered = losses_and_gradients(loss, out, batch)
    for one, other in zip(lowered, plain, strict=True):
        torch.testing.assert_close(one, other)


def test_half_precision_logits_are_weighed_in_full():
    out, batch = example(LETTERS, 0, dtype=torch.float32)
    names = [name for name in out if name.endswith("logits")]
    assert len(names) == 5
    low = out | {name: out[name].bfloat16() for name in names}
    loss = AlphaFoldLoss(EVERY_TERM)
    total, terms = loss(low, batch)
    expected, its_terms = loss(low | {name: low[name].float() for name in names}, batch)
    torch.testing.assert_close((total, terms), (expected, its_terms))
    assert total.dtype == torch.float32


def test_runs_on_tensors_without_data():
    out, batch = example(LETTERS, 0)
    loss = AlphaFoldLoss(EVERY_TERM)
    with FakeTensorMode() as mode:
        out, batch = tree_map(mode.from_tensor, (out, batch))
        total, _ = loss(out, batch)
        total.backward()
        assert out["sm"]["frames"].grad.shape == out["sm"]["frames"].shape
