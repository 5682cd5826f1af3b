"""Checkpoints: what comes back, what is left of a write that was cut short, what is refused."""

import json
import os

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from sci_memeff.errors import BadCheckpointError, BadWeightsError
from sci_memeff.training import checkpoint
from sci_memeff.training.step import Trainer
from sci_memeff.training.stream import samples
from sci_memeff.training.weights import load_any

from .standins import TinyData, TinyModel, loss, settings

CPU = torch.device("cpu")


def trainer(width: int = 8, updates: int = 0) -> Trainer:
    one = Trainer(TinyModel(width), loss, settings().optimizer, seed=0, device=CPU)
    advance(one, updates)
    return one


def advance(one: Trainer, updates: int) -> None:
    stream = samples(TinyData(), start=one.next_sample, workers=0)
    for _ in range(updates):
        assert one.advance(stream, lambda: False) is not None


def test_everything_comes_back(tmp_path):
    one, two = trainer(updates=3), trainer()
    path = checkpoint.write(tmp_path, one, {"a": 1}, keep=2)
    assert path.name == "step-00000003"
    found = checkpoint.read(path)
    assert found.settings == {"a": 1}
    checkpoint.restore(found, two)
    assert (two.step, two.next_sample) == (one.step, one.next_sample) == (3, 7)
    advance(one, 2)
    advance(two, 2)
    found, wanted = two.optimizer.state_dict(), one.optimizer.state_dict()
    assert found["param_groups"] == wanted["param_groups"]
    assert found["state"].keys() == wanted["state"].keys()
    for number, states in wanted["state"].items():
        assert found["state"][number].keys() == states.keys() >= {"average", "exp_avg_sq"}
        for name, tensor in states.items():
            assert torch.equal(found["state"][number][name], tensor), (number, name)


def test_checkpoint_holds_no_pickle(tmp_path):
    path = checkpoint.write(tmp_path, trainer(updates=1), {}, keep=1)
    assert sorted(file.name for file in path.iterdir()) == [
        "adam.safetensors",
        "averaged.safetensors",
        "model.safetensors",
        "state.json",
    ]


def test_only_the_newest_are_kept(tmp_path):
    one = trainer()
    for _ in range(4):
        advance(one, 1)
        checkpoint.write(tmp_path, one, {}, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000003", "step-00000004"]


def test_write_that_was_cut_short_leaves_no_checkpoint(tmp_path, monkeypatch):
    one = trainer(updates=1)
    checkpoint.write(tmp_path, one, {}, keep=2)
    advance(one, 1)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "_digest", lambda path: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            checkpoint.write(tmp_path, one, {}, keep=2)
    found = checkpoint.newest_good(tmp_path, pytest.fail)
    assert found is not None
    assert found.step == 1
    checkpoint.write(tmp_path, one, {}, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000001", "step-00000002"]


def test_files_are_on_disk_before_the_checkpoint_has_its_name(tmp_path, monkeypatch):
    synced = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        assert not (tmp_path / "step-00000001").exists()
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    path = checkpoint.write(tmp_path, trainer(updates=1), {}, keep=2)
    assert set(synced) == {one.stat().st_ino for one in [path, *path.iterdir()]}


def test_damaged_checkpoint_of_the_same_step_is_replaced(tmp_path):
    one = trainer(updates=1)
    path = checkpoint.write(tmp_path, one, {}, keep=2)
    (path / "adam.safetensors").write_bytes(b"")
    checkpoint.write(tmp_path, one, {}, keep=2)
    assert checkpoint.read(path).step == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path / "model.safetensors").write_bytes(b"short"),
        lambda path: (path / "averaged.safetensors").unlink(),
        lambda path: (path / "state.json").write_text('{"step": 1'),
        lambda path: (path / "state.json").write_text("[]"),
        lambda path: (path / "state.json").unlink(),
    ],
)
def test_damage_is_an_error_that_names_the_checkpoint(tmp_path, damage):
    path = checkpoint.write(tmp_path, trainer(updates=1), {}, keep=2)
    damage(path)
    with pytest.raises(
        BadCheckpointError, match=r"(?s)step-00000001 is damaged.*name another checkpoint"
    ):
        checkpoint.read(path)


def test_file_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    path = checkpoint.write(tmp_path, trainer(), {}, keep=2)

    def broken(file):
        raise SafetensorError("header too large")

    monkeypatch.setattr(checkpoint, "load_file", broken)
    with pytest.raises(
        BadCheckpointError, match=r"(?s)averaged.safetensors cannot be read \(header.*name a whole"
    ):
        checkpoint.load_averaged(path)


def test_none_whole_is_an_error_and_none_at_all_is_none(tmp_path):
    assert checkpoint.newest_good(tmp_path, pytest.fail) is None
    path = checkpoint.write(tmp_path, trainer(), {}, keep=2)
    (path / "model.safetensors").write_bytes(b"")
    with pytest.raises(BadCheckpointError, match=r"(?s)none of the 1 .* is whole.*new run"):
        checkpoint.newest_good(tmp_path, lambda line: None)


def test_other_format_is_refused(tmp_path):
    path = checkpoint.write(tmp_path, trainer(), {}, keep=2)
    state = json.loads((path / "state.json").read_text())
    (path / "state.json").write_text(json.dumps(state | {"format": 99}))
    with pytest.raises(BadCheckpointError, match=r"(?s)format 99.*version of sci_memeff"):
        checkpoint.read(path)


def test_checkpoint_of_another_model_lists_the_tensors(tmp_path):
    found = checkpoint.read(checkpoint.write(tmp_path, trainer(), {}, keep=2))
    wider = trainer(width=9)
    before = wider.model.out.weight.clone()
    with pytest.raises(
        BadCheckpointError, match=r"(?s)out.weight is \(111, 8\), the model has \(111, 9\).*config"
    ):
        checkpoint.restore(found, wider)
    assert torch.equal(wider.model.out.weight, before)


def test_states_of_another_kind_are_listed(tmp_path):
    path = checkpoint.write(tmp_path, trainer(updates=1), {}, keep=2)
    found = checkpoint.read(path)
    adam = load_file(path / "adam.safetensors")
    adam["exp_avg/gone"] = adam.pop("exp_avg/out.weight")
    adam["step/out.bias"] = torch.zeros(2)
    save_file(adam, path / "adam.safetensors")
    with pytest.raises(BadCheckpointError, match="another model") as caught:
        checkpoint.restore(found, trainer())
    for part in ("missing exp_avg/out.weight", "unexpected exp_avg/gone", r"step/out.bias is (2,)"):
        assert part in str(caught.value)


def test_half_precision_comes_back_with_its_float32_weights(tmp_path):
    def of_half() -> Trainer:
        model = TinyModel().bfloat16()
        return Trainer(model, loss, settings().optimizer, seed=0, device=CPU)

    one, two = of_half(), of_half()
    advance(one, 2)
    checkpoint.restore(checkpoint.read(checkpoint.write(tmp_path, one, {}, keep=1)), two)
    advance(one, 2)
    advance(two, 2)
    for p, other in zip(one.model.parameters(), two.model.parameters(), strict=True):
        assert p.dtype == torch.bfloat16
        assert torch.equal(p, other)
        assert one.optimizer.state[p].keys() == two.optimizer.state[other].keys()
        for key, value in one.optimizer.state[p].items():
            assert value.dtype == torch.float32
            assert torch.equal(two.optimizer.state[other][key], value)


def test_weights_load_from_a_run_folder_and_from_a_checkpoint(tmp_path):
    one = trainer(updates=2)
    path = checkpoint.write(tmp_path / "checkpoints", one, {}, keep=2)
    for place in (tmp_path, path.parent, path):
        model = TinyModel()
        load_any(model, place, pytest.fail)
        assert torch.equal(model.out.weight, one.optimizer.average(one.model.out.weight))
        assert not torch.equal(model.out.weight, one.model.out.weight)


def test_weights_that_are_not_there_or_do_not_fit_are_refused(tmp_path):
    with pytest.raises(BadWeightsError, match=r"(?s)without checkpoints.*OpenFold .pt"):
        load_any(TinyModel(), tmp_path, pytest.fail)
    checkpoint.write(tmp_path / "checkpoints", trainer(), {}, keep=2)
    with pytest.raises(BadWeightsError, match=r"(?s)does not fit the model.*config.yaml"):
        load_any(TinyModel(9), tmp_path, pytest.fail)
    (tmp_path / "weights.zip").touch()
    with pytest.raises(BadWeightsError, match="ending"):
        load_any(TinyModel(), tmp_path / "weights.zip", pytest.fail)
    with pytest.raises(BadWeightsError, match=r"(?s)no such file or folder.*name a run folder"):
        load_any(TinyModel(), tmp_path / "nowhere", pytest.fail)
    part = tmp_path / "checkpoints" / "step-00000000" / "averaged.safetensors"
    with pytest.raises(BadWeightsError, match=r"(?s)one file of a checkpoint.*name .*00000000$"):
        load_any(TinyModel(), part, pytest.fail)
