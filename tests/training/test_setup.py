"""What planning is given of AlphaFold: features of the right shapes, a step, an optimizer."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from sci_memeff import DataFolder, Plan, Rule, TrainingData, apply, describe, make_batch, simulate
from sci_memeff.chunking import in_slices
from sci_memeff.data.example import Example
from sci_memeff.errors import BadConfigError
from sci_memeff.measure import measure
from sci_memeff.training.made_up import made_up_example
from sci_memeff.training.presets import DEMO, preset
from sci_memeff.training.setup import ModelAndLoss, Setup, alphafold_setup
from sci_memeff.training.step import Trainer

DATA = Path(__file__).parents[2] / "data"


def real(setup: Setup) -> dict[str, torch.Tensor]:
    """Features of a bundled protein, padded, of as many passes as `setup` has."""
    data = replace(setup.settings.data, fixed_size=True)
    folder = TrainingData(DataFolder(DATA), data)
    for k in range(100):
        example = folder[k]
        if isinstance(example, Example) and example.features["aatype"].shape[-1] == setup.passes:
            return make_batch([example])
    raise AssertionError("no sample of so many passes")


@pytest.mark.parametrize("name", ["demo", "finetuning"])
def test_a_made_up_protein_has_every_feature_in_full_size(name):
    setup = alphafold_setup(settings(name, 23, 2))
    found, wanted = setup.real_batch(), setup.batch
    assert found.keys() == wanted.keys()
    for key, tensor in wanted.items():
        assert found[key].shape == tensor.shape, key
        assert found[key].dtype == tensor.dtype, key
        assert found[key].isfinite().all(), key
    for key in ("msa_mask", "extra_msa_mask", "seq_mask", "backbone_rigid_mask"):
        assert (found[key] == 1).all(), key
    same, other = setup.real_batch(), setup.real_batch(seed=1)
    assert all(torch.equal(same[key], tensor) for key, tensor in found.items())
    assert not torch.equal(other["aatype"], found["aatype"])


def test_a_step_on_made_up_values_has_every_gradient():
    small = settings("finetuning", 8, 1)
    small = replace(small, data=replace(small.data, max_msa_clusters=3, max_extra_msa=2))
    setup = alphafold_setup(small, num_evoformer_blocks=1)
    model = setup.real_model()
    loss = setup.step(model, setup.real_batch())
    loss.backward()
    assert loss.isfinite()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert len(without) < 0.05 * len(list(model.parameters())), without


def settings(name: str, crop: int, passes: int):
    small = preset(name)
    data = replace(small.data, crop_size=crop, max_recycling=passes - 1, max_extra_msa=20)
    return replace(small, data=data)


@pytest.mark.parametrize("passes", [1, 3])
@pytest.mark.parametrize("name", ["demo", "finetuning"])
def test_features_are_laid_out_as_real_ones(name, passes):
    setup = alphafold_setup(settings(name, 70, passes))
    found, wanted = setup.batch, real(setup)
    assert setup.passes == passes
    assert found.keys() == wanted.keys()
    for key, tensor in wanted.items():
        assert found[key].shape == tensor.shape, key
        assert found[key].dtype == tensor.dtype, key
        ours, theirs = found[key].untyped_storage(), tensor.untyped_storage()
        assert ours.nbytes() == theirs.nbytes(), key
        assert found[key].is_meta, key


def test_the_simulated_step_has_the_bytes_of_a_real_one():
    setup = alphafold_setup(settings("demo", 20, 2))
    simulated = simulate(setup.model, setup.step, setup.batch, optimizer=setup.optimizer)
    model, batch = setup.model(), real(setup)
    optimizer = setup.optimizer(model)
    with measure(model) as measured:
        setup.step(model, batch).backward()
        optimizer.step()
    assert simulated.peak == measured.peak
    assert simulated.flops == measured.flops


def test_the_largest_sample_of_the_settings_or_another():
    whole = alphafold_setup(preset("finetuning"))
    assert whole.passes == 4
    assert whole.batch["msa_feat"].shape == (1, 512, 384, 49, 4)
    assert whole.batch["extra_msa"].shape == (1, 5120, 384, 4)
    assert whole.batch_at(1024)["aatype"].shape == (1, 1024, 4)
    small = alphafold_setup(DEMO, crop=9, num_evoformer_blocks=1, passes=2, dtype=torch.bfloat16)
    assert small.batch["aatype"].shape == (1, 9, 2)
    with torch.device("meta"):
        model = small.model()
    assert len(model.model.evoformer.blocks) == 1
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert model.training


@pytest.mark.parametrize("name", ["crop", "num_evoformer_blocks", "passes"])
def test_sizes_below_one_are_refused(name):
    with pytest.raises(BadConfigError, match="is 0\n  mend: give at least 1"):
        alphafold_setup(DEMO, **{name: 0})


def test_one_plan_is_for_the_model_and_its_loss():
    with torch.device("meta"):
        model = alphafold_setup(DEMO).model()
    rules = [
        Rule(where=where, seam="walk", use=in_slices(4))
        for where in ("model.evoformer.blocks.*", "loss.distogram")
    ]
    apply(model, Plan(rules=tuple(rules)))
    changed = describe(model)
    assert "loss.distogram" in changed
    assert any(name.startswith("model.evoformer.blocks.1.") for name in changed)


def test_a_loss_that_is_no_module():
    model = nn.Linear(3, 1)

    def loss(outputs, features):
        assert features["x"].shape == (5,)
        return outputs.sum(), {}

    both = ModelAndLoss(_Last(model), loss)
    both({"x": torch.ones(5, 3)}).backward()
    assert [name for name, _ in both.named_parameters()] == [
        "model.layer.weight",
        "model.layer.bias",
    ]
    assert torch.equal(model.weight.grad, torch.full((1, 3), 5.0))


class _Last(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, batch):
        return self.layer(batch["x"])


@pytest.mark.parametrize("samples", [1, 2])
def test_the_trainer_s_own_step_has_the_bytes_that_were_simulated(samples):
    """With several samples to an update, the sum of their gradients is alive as well."""
    small = settings("demo", 40, 2)
    small = replace(small, optimizer=replace(small.optimizer, batch_size=samples))
    setup = replace(alphafold_setup(small), samples=samples)
    simulated = simulate(
        setup.model, setup.step, setup.batch, optimizer=setup.optimizer, updates=2, device="cpu"
    )
    model = setup.real_model()
    trainer = Trainer(model.model, model.loss, small.optimizer, seed=0, device=torch.device("cpu"))
    example = made_up_example(replace(small.data, fixed_size=True))
    stream = iter([(k, example) for k in range(2 * samples)])
    with measure(model) as measured:
        for _ in range(2):
            trainer.advance(stream, lambda: False)
    assert simulated.peak == pytest.approx(measured.peak, rel=0.001)


def test_sums_of_half_precision_are_in_float32():
    setup = alphafold_setup(DEMO, crop=4, num_evoformer_blocks=1, dtype=torch.bfloat16)
    assert not list(setup.model().model.buffers())
    summed = replace(setup, samples=2).model()
    sums = [x for name, x in summed.named_buffers() if name.startswith("sum_")]
    assert [x.shape for x in sums] == [p.shape for p in summed.parameters()]
    assert {x.dtype for x in sums} == {torch.float32}
    assert summed.state_dict().keys() == setup.model().state_dict().keys()
